"""`tf-lcnn`: the programs of this project under one name."""

import ast
import importlib
import pathlib
import sys

import tf_lcnn
from tf_lcnn import checks, programs

NAME = "tf-lcnn"
# In the order in which they are used; each is a module beside this one, with a function `start`.
COMMANDS = ("train", "compress", "export", "run", "benchmark", "web", "profile")


def main():
    """Runs the command that the arguments of this process begin with."""
    name, *_ = [*sys.argv[1:], "--help"]
    if name in ("--help", "-h", "help"):
        print(overview())
    elif name == "--version":
        print(f"{NAME} {tf_lcnn.__version__}")
    elif name not in COMMANDS:
        sys.exit(f"{NAME}: {name!r} is no command: {', '.join(COMMANDS)}.")
    else:
        sys.argv = [f"{NAME} {name}", *sys.argv[2:]]
        try:
            command = importlib.import_module(f"tf_lcnn.commands.{name}")
        except programs.ERRORS as error:
            sys.exit(f"{NAME} {name}: {checks.first_line(error)}")
        command.start()


def overview():
    """All commands, a line each."""
    lines = [f"  {name:10} {_about(name)}" for name in COMMANDS]
    usage = f"usage: {NAME} COMMAND [ARGUMENT...]"
    return "\n".join([usage, "", *lines, "", f"{NAME} COMMAND --help says more."])


def _about(name):
    """The first line of a command's text, which is read and not imported: flags are global."""
    code = pathlib.Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(code)).splitlines()[0]
