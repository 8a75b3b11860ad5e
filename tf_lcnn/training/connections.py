"""Connections of all hosts of a run: who is alive, and what all have to know."""

import contextlib
import json
import os
import pathlib
import queue
import socket
import sys
import threading
import time
from multiprocessing import connection

import numpy as np

# A host that has not been heard of for so many seconds is taken for dead.
SILENCE = 40.0
_PULSE = 5.0


class Connections:
    """Connections of all hosts with host 0: who is alive, and what all have to know.

    A message is a kind, one byte, and its content. What kills a process closes its connection, so
    the others know at once; a machine that loses power falls silent.
    """

    ALIVE, CONTENT, END, LEAVE = b"a", b"c", b"e", b"l"

    def __init__(self, index, count, coordinator):
        self._index = index
        self._names = {index: socket.gethostname()}
        self._peers, self._received = {}, {}
        self._lock = threading.Lock()
        self._leaving = False
        if index == 0:
            self._listen(count, coordinator)
        else:
            address = _shared_address()
            self._add(0, connection.Client(address))
            self._send(0, self.CONTENT, json.dumps([index, self._names[index]]).encode())
        # The names of all, on all.
        names = self.spread(json.dumps(self._names).encode())
        self._names = {int(number): name for number, name in json.loads(names).items()}
        threading.Thread(target=self._pulse, daemon=True).start()

    def _listen(self, count, coordinator):
        host = coordinator.rpartition(":")[0] if coordinator else socket.gethostname()
        with connection.Listener(("", 0), backlog=count) as listener:
            _shared_address((host, listener.address[1]))
            for _ in range(count - 1):
                peer = listener.accept()
                number, name = json.loads(peer.recv_bytes()[1:])
                self._names[number] = name
                self._add(number, peer)

    def _add(self, number, peer):
        self._peers[number] = peer
        self._received[number] = queue.Queue()
        threading.Thread(target=self._read, args=(number, peer), daemon=True).start()

    def named(self, number):
        """How a host is called in messages."""
        return f"Host {number} ({self._names.get(number, 'unknown')})"

    def gathered(self, content):
        """The contents of all hosts in their order, on host 0; on others None."""
        if self._index != 0:
            self._send(0, self.CONTENT, content)
            return None
        return [content, *(self._received[i].get() for i in sorted(self._peers))]

    def spread(self, content):
        """The content of host 0, on all."""
        if self._index != 0:
            return self._received[0].get()
        for number in self._peers:
            self._send(number, self.CONTENT, content)
        return content

    def leave(self):
        """From here on others may go."""
        self._leaving = True
        for number in self._peers:
            self._send(number, self.LEAVE)

    def end(self, line):
        """Ends all other hosts with this line."""
        self._leaving = True
        for number in self._peers:
            self._send(number, self.END, line.encode())

    def _send(self, number, kind, content=b""):
        # One that is gone is noticed where it is read from.
        with contextlib.suppress(OSError), self._lock:
            self._peers[number].send_bytes(kind + content)

    def _pulse(self):
        while not self._leaving:
            for number in self._peers:
                self._send(number, self.ALIVE)
            time.sleep(_PULSE)

    def _read(self, number, peer):
        while True:
            try:
                if not peer.poll(SILENCE):
                    self._lost(number, f"has been silent for {SILENCE:.0f} s")
                message = peer.recv_bytes()
            except (EOFError, OSError):
                self._lost(number, "has died")
                return
            kind, content = message[:1], message[1:]
            if kind == self.LEAVE:
                return
            if kind == self.END:
                line = content.decode()
                self.end(line)
                die(line)
            if kind == self.CONTENT:
                self._received[number].put(content)

    def _lost(self, number, how):
        if self._leaving:
            return
        line = f"{self.named(number)} {how}: the run ends; --resume goes on with it."
        self.end(line)
        die(line)


def _shared_address(address=None):
    """The address (host, port) that host 0 gives, on all hosts."""
    from jax.experimental import multihost_utils

    text = np.zeros(512, np.uint8)
    if address is not None:
        encoded = json.dumps(address).encode()
        text[: len(encoded)] = list(encoded)
    text = np.asarray(multihost_utils.broadcast_one_to_all(text)).astype(np.uint8)
    return tuple(json.loads(text.tobytes().rstrip(b"\0")))


def die(line):
    """Ends this process at once, whatever its main thread waits for."""
    print(f"{pathlib.Path(sys.argv[0]).name}: {line}", file=sys.stderr)
    leave_at_once()


def leave_at_once():
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(1)
