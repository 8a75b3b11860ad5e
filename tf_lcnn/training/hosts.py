"""Data parallel training on several devices and hosts: who takes part, and who is gone.

JAX's distributed runtime and `keras.distribution.DataParallel` do the computing: every device has
all variables and its rows of each batch, and sums over the batch go over all devices, those of
batch normalization too. This file holds what they leave open: that all hosts run the same, what
one host makes for all, and that a host which dies ends the run on all of them, with its name. For
that every host keeps a connection to host 0, over which it is known to be alive.

A host is a process here: several may run on one machine, each with its own devices.
"""

import atexit
import contextlib
import hashlib
import json
import os
import pathlib
import queue
import socket
import sys
import threading
import time
from multiprocessing import connection

import keras
import numpy as np

from tf_lcnn import checks, programs

# A host that has not been heard of for so many seconds is taken for dead.
SILENCE = 40.0
_PULSE = 5.0

# How long a host whose computation broke off waits to be told which other one died.
_GRACE = 20.0

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
_LIBRARIES = ("keras", "jax", "tensorflow", "numpy")


class Hosts:
    """The hosts of a run; `joined` makes one. This one by itself is a run on one device.

    Attributes:
        index, count: this host's number, from 0, and how many there are. Host 0 writes files.
        devices: of all hosts together.
    """

    index, count, devices = 0, 1, 1

    @property
    def first(self):
        """Whether this is the host that writes files, and tells."""
        return self.index == 0

    @property
    def share(self):
        """(index, count, devices), which `data.examples` deals out the rows of a batch by."""
        return self.index, self.count, self.devices

    def check_batch(self, batch_size, parts, examples):
        """Raises ValueError unless all devices get equally many rows of every batch.

        Args:
            batch_size: examples per step of the optimizer.
            parts: each batch comes in this many equal parts.
            examples: of the training split in an epoch.
        """
        if self.devices > examples:
            raise ValueError(
                f"There are {self.devices} devices for {examples} training examples: take fewer."
            )
        if batch_size % (parts * self.devices):
            what = f"--batch_size={batch_size}"
            what += f" in --break_batch={parts} parts" if parts > 1 else ""
            near = max(1, round(batch_size / (parts * self.devices))) * parts * self.devices
            raise ValueError(
                f"{what} does not go over {self.devices} devices evenly: {near} would."
            )

    def agree(self, facts):
        """Raises ValueError, on all hosts, unless they state the same; it names who does not.

        Args:
            facts: what is stated -> a string.
        """

    def handed_out(self, make):
        """What `make` returns on host 0, a dict name -> bytes, on every host."""
        return make()

    def spread(self):
        """From here on models are made for all devices."""

    def leave(self):
        """Parts with the others: from here on models are of this host alone, and may differ."""


@contextlib.contextmanager
def joined(distribute, coordinator=None, processes=None, process=None, timeout=300):
    """The Hosts of this run, to train with.

    An exception in this context ends the run on all hosts.

    Args:
        distribute: whether to train on several devices at all.
        coordinator: HOST:PORT where host 0 waits for the others. Without it JAX finds out on
            SLURM, GKE and TPU pods; elsewhere the run has one host, with all its devices.
        processes: how many hosts there are, with `coordinator`.
        process: the number of this one, from 0.
        timeout: seconds to wait for the others.

    Raises:
        ValueError: arguments that do not go together, or another backend than JAX.
    """
    given = [x is not None for x in (coordinator, processes, process)]
    if any(given) and not (all(given) and distribute):
        raise ValueError("--coordinator, --processes and --process go together, with --distribute.")
    if not distribute:
        yield Hosts()
        return
    if keras.backend.backend() != "jax":
        raise ValueError(
            "--distribute needs KERAS_BACKEND=jax: under TensorFlow batch normalization would take "
            "the statistics of each device by itself, and training depend on how many there are."
        )
    if coordinator is not None:
        _check_place(coordinator, processes, process)
    team = _JaxHosts(coordinator, processes, process, timeout)
    with contextlib.ExitStack() as stack:
        if not team.first:
            # Host 0 tells for all.
            nothing = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nothing))
        print(f"Data parallel: {team.devices} devices of {team.count} hosts", flush=True)
        try:
            yield team
        except BaseException as error:
            team.fail(error)
            raise


def _check_place(coordinator, processes, process):
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"--coordinator={coordinator!r}: HOST:PORT works, like node1:7890.")
    checks.whole_number(processes, "--processes")
    checks.whole_number(process, "--process", least=0, most=processes - 1)


class _JaxHosts(Hosts):
    def __init__(self, coordinator, processes, process, timeout):
        import jax

        _connect_jax(jax, coordinator, processes, process, timeout)
        self.index, self.count = jax.process_index(), jax.process_count()
        self.devices = jax.device_count()
        self._error = jax.errors.JaxRuntimeError
        self._left = False
        if jax.local_device_count() * self.count != self.devices:
            raise ValueError(
                f"Host {self.index} has {jax.local_device_count()} of the {self.devices} devices "
                f"of {self.count} hosts: all hosts need equally many."
            )
        self._lines = _Lines(self.index, self.count, coordinator) if self.count > 1 else None

    def agree(self, facts):
        if self._lines is None:
            return
        stated = self._lines.gathered(json.dumps(facts).encode())
        if self.first:
            for number, other in enumerate(map(json.loads, stated)):
                for what, value in facts.items():
                    if other.get(what) != value:
                        raise ValueError(
                            f"{self._lines.named(number)} has another {what} than "
                            f"{self._lines.named(0)}, {other.get(what)} and not {value}: all hosts "
                            "need the same."
                        )
        self._lines.spread(b"agreed")

    def handed_out(self, make):
        if self._lines is None:
            return make()
        files = make() if self.first else {}
        names = json.loads(self._lines.spread(json.dumps(list(files)).encode()))
        return {name: self._lines.spread(files.get(name)) for name in names}

    def spread(self):
        # Each host makes its own rows.
        parallel = keras.distribution.DataParallel(auto_shard_dataset=False)
        keras.distribution.set_distribution(parallel)

    def leave(self):
        import jax

        keras.distribution.set_distribution(None)
        self._left = True
        if self._lines is not None:
            self._lines.leave()
            jax.distributed.shutdown()

    def fail(self, error):
        """Ends the run on all hosts, after an exception on this one."""
        if self._lines is None or self._left:
            return
        if isinstance(error, self._error):
            # Most likely another host is gone, and this process ends as soon as that is known.
            time.sleep(_GRACE)
        line = checks.first_line(error)
        if not isinstance(error, programs.ERRORS):
            line = f"{type(error).__name__}: {line}"
        self._lines.end(f"{self._lines.named(self.index)} stopped: {line}")
        # JAX would wait for the others; this runs before its own farewell.
        atexit.register(_exit)


def _exit():
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(1)


def _connect_jax(jax, coordinator, processes, process, timeout):
    """Starts JAX's distributed runtime; where nothing says that there are other hosts, none."""

    def give_up():
        where = f"at {coordinator}" if coordinator else "where the cluster says"
        _die(
            f"After {timeout} s not all hosts have met {where}: is host 0 running there, "
            "and are all of them started? --timeout is how long to wait."
        )

    with contextlib.suppress(AttributeError):
        # It would take a SIGTERM for a notice, and go on.
        jax.config.update("jax_enable_preemption_service", False)
    # After its own time JAX ends the process, with a stack trace.
    timer = threading.Timer(timeout, give_up)
    timer.daemon = True
    timer.start()
    try:
        jax.distributed.initialize(
            *(coordinator, processes, process), initialization_timeout=timeout + 60
        )
    except ValueError:
        if coordinator is not None or "SLURM_STEP_NODELIST" in os.environ:
            raise
    finally:
        timer.cancel()


def _die(line):
    """Ends this process at once, whatever its main thread waits for."""
    print(f"{pathlib.Path(sys.argv[0]).name}: {line}", file=sys.stderr)
    _exit()


class _Lines:
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
                _die(line)
            if kind == self.CONTENT:
                self._received[number].put(content)

    def _lost(self, number, how):
        if self._leaving:
            return
        line = f"{self.named(number)} {how}: the run ends; --resume goes on with it."
        self.end(line)
        _die(line)


def _shared_address(address=None):
    """The address (host, port) that host 0 gives, on all hosts."""
    from jax.experimental import multihost_utils

    text = np.zeros(512, np.uint8)
    if address is not None:
        encoded = json.dumps(address).encode()
        text[: len(encoded)] = list(encoded)
    text = np.asarray(multihost_utils.broadcast_one_to_all(text)).astype(np.uint8)
    return tuple(json.loads(text.tobytes().rstrip(b"\0")))


def code():
    """What runs here, as a short string: a digest of program and package, libraries' versions."""
    digest = hashlib.sha256()
    program = pathlib.Path(sys.argv[0])
    for path in [*([program] if program.is_file() else []), *sorted(_PACKAGE.rglob("*.py"))]:
        digest.update(path.name.encode() + path.read_bytes())
    used = [name for name in _LIBRARIES if name in sys.modules]
    versions = [f"{name} {sys.modules[name].__version__}" for name in used]
    return ", ".join([f"tf_lcnn {digest.hexdigest()[:12]}", *versions])
