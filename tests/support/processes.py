"""Programs in processes of their own that do not import TensorFlow each: they are forked.

A program is what a user starts: it has its own flags, environment and folder, writes to its own
standard output and error, and ends as the interpreter ends. Only the seconds are saved in which it
would import the package, which one process does for all. How that import goes, and whether it is
silent, is for a process that starts afresh.
"""

import atexit
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Whoever is forked leaves the loop, and becomes the program.
_SERVER = """
import gc, json, os, sys
import tf_lcnn
# Or every end of a program would go through all that was imported.
gc.freeze()
# Which the package sets before it imports TensorFlow.
level = {x: y for x, y in os.environ.items() if x == "TF_CPP_MIN_LOG_LEVEL"}
for line in sys.stdin:
    child = os.fork()
    if not child:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
code, sys.argv, folder, environment, *streams = json.loads(line)
for number, path in enumerate([os.devnull, *streams]):
    os.dup2(os.open(path, os.O_RDWR), number)
os.chdir(folder)
os.environ.clear()
os.environ.update(environment | level)
exec(code)
"""


def environment():
    """That of this process, as it was before TensorFlow was imported, which sets a level."""
    kept = {x: y for x, y in os.environ.items() if x != "TF_CPP_MIN_LOG_LEVEL"}
    return {**kept, "PYTHONPATH": str(ROOT)}


# Before a program that is to import the package once more, without what it hides.
FORGET = """
import sys
for name in [x for x in sys.modules if x.partition(".")[0] == "tf_lcnn"]:
    del sys.modules[name]
"""


@functools.cache
def _server(backend):
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        cwd=ROOT,
        env={**environment(), "KERAS_BACKEND": backend},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    # Without more to read it ends.
    atexit.register(process.communicate)
    return process


def run(code, *arguments, name="-c", folder=ROOT, **more):
    """Runs code to its end, as `python -c` does: its subprocess.CompletedProcess.

    Args:
        code: of Python.
        arguments: of the program.
        name: of the program, `sys.argv[0]`.
        folder: where it runs.
        more: variables of its environment, beside those of this process.
    """
    variables = {**environment(), **more}
    server = _server(variables.get("KERAS_BACKEND", "tensorflow"))
    command = [name, *map(str, arguments)]
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as errors:
        job = code, command, str(folder), variables, out.name, errors.name
        print(json.dumps(job), file=server.stdin, flush=True)
        status = int(server.stdout.readline())
        told = (file.read().decode() for file in (out, errors))
        return subprocess.CompletedProcess(command, status, *told)


def run_file(path, *arguments, **how):
    """Runs a file, as `python path` does; the rest is as in `run`."""
    code = "import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    return run(code, *arguments, name=path, **how)


def run_module(name, *arguments, **how):
    """Runs a module, as `python -m name` does; the rest is as in `run`."""
    code = f"import runpy; runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"
    return run(code, *arguments, **how)


def run_afresh(*arguments, folder=ROOT, **more):
    """Runs Python with these arguments in a process that imports everything itself."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env={**environment(), **more},
        capture_output=True,
        text=True,
        check=False,
    )
