"""Starts a program as several hosts on this machine, to test and to try things.

    python tools/launch.py --processes=4 -- train.py --flagfile=resnet_lcnn.cfg

The program gets --distribute, --coordinator, --processes and --process. Where one process fails
the others have a minute to end by themselves. Ends with the first exit status that is not 0.
"""

import argparse
import os
import socket
import subprocess
import sys
import time

SECONDS_TO_END = 60


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, required=True, help="How many.")
    parser.add_argument("program", nargs="+", help="After --: the program, and its flags.")
    given = parser.parse_args(arguments)
    if given.processes < 1:
        parser.error(f"--processes={given.processes}: at least one.")
    return wait(start(given.processes, given.program))


def start(count, program):
    """The processes of `count` hosts."""
    place = ("--distribute", f"--coordinator=127.0.0.1:{free_port()}", f"--processes={count}")
    environment = {"KERAS_BACKEND": "jax", **os.environ}
    return [
        subprocess.Popen([sys.executable, *program, *place, f"--process={i}"], env=environment)
        for i in range(count)
    ]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait(processes):
    """The exit status of all together, when all have ended."""
    deadline = None
    try:
        while any(process.poll() is None for process in processes):
            failed = any(process.returncode for process in processes)
            deadline = deadline or (time.monotonic() + SECONDS_TO_END if failed else None)
            if deadline and time.monotonic() > deadline:
                break
            time.sleep(0.1)
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
    return next((process.returncode for process in processes if process.returncode), 0)


if __name__ == "__main__":
    sys.exit(main())
