"""What every program does around its `main`: flags, one-line errors, quiet logs."""

import dataclasses
import inspect
import logging
import pathlib
import re
import sys
import textwrap

from absl import app, flags
from absl import logging as absl_logging

from tf_lcnn import checks

# What a program says in one line; anything else is a bug, and shows where it is.
ERRORS = (ValueError, OSError, FloatingPointError, checks.MissingExtraError)


# Of a line of help; a screen has as many.
_COLUMNS = 80
_VALUES = re.compile(r"^<[^>]*>: ")


@dataclasses.dataclass(frozen=True)
class Help:
    """What --help shows of a program, on one screen; --helpfull is absl's and has all flags.

    Attributes:
        usage: what comes after the program's name.
        flags: names of the flags that are used most.
    """

    usage: str
    flags: tuple

    def text(self, name, about):
        """The help of the program of this name, whose text is `about`."""
        rows = [(_spelled(flags.FLAGS[flag]), flags.FLAGS[flag].help) for flag in self.flags]
        width = max(len(spelled) for spelled, _ in rows)
        # Without the values of an enum that absl puts before its help.
        told = [_VALUES.sub("", text) for _, text in rows]
        told = [textwrap.shorten(text, _COLUMNS - width - 4, placeholder=" ...") for text in told]
        lines = [
            f"  {spelled:{width}}  {text}" for (spelled, _), text in zip(rows, told, strict=True)
        ]
        first = about.strip().splitlines()[0]
        return "\n".join(
            [f"usage: {name} {self.usage}", "", first, "", *lines, "", "--helpfull has all flags."]
        )


def _spelled(flag):
    """A flag with its default, as one would write it."""
    if flag.boolean:
        return f"--[no]{flag.name}" if flag.value else f"--{flag.name}"
    default = (flag.default_as_str or "").strip("'")
    return f"--{flag.name}={default or '...'}"


def run(main, errors=(), flags_parser=None, help_of=None):
    """Runs a program: parses its flags, calls `main` and exits.

    Args:
        main: a function of nothing, or of the list of arguments that are no flags.
        errors: classes of exceptions, beside `ERRORS`, that are told in one line.
        flags_parser: of absl's `app.run`; it raises ValueError for flags that are wrong.
        help_of: the Help that --help shows; None shows absl's.
    """
    name = pathlib.Path(sys.argv[0]).name
    if help_of is not None and {"--help", "-help", "-h"} & set(sys.argv[1:]):
        print(help_of.text(name, inspect.getmodule(main).__doc__))
        return
    takes_arguments = bool(inspect.signature(main).parameters)

    def start(arguments):
        absl_logging.set_verbosity(absl_logging.WARNING)
        logging.getLogger("tensorflow").setLevel(logging.WARNING)
        if takes_arguments:
            return main(arguments[1:])
        if len(arguments) > 1:
            raise ValueError(f"{arguments[1]!r} is no flag: flags start with --.")
        return main()

    try:
        app.run(start, flags_parser=flags_parser or _parse)
    except (*ERRORS, *errors) as error:
        sys.exit(f"{name}: {checks.first_line(error)}")


def _parse(arguments):
    try:
        return flags.FLAGS(arguments)
    except flags.Error as error:
        # In one line; absl would add its own.
        raise ValueError(str(error)) from None
