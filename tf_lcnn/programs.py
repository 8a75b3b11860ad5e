"""What every program does around its `main`: flags, one-line errors, quiet logs."""

import inspect
import logging
import pathlib
import sys

from absl import app, flags
from absl import logging as absl_logging

from tf_lcnn import checks

# What a program says in one line; anything else is a bug, and shows where it is.
ERRORS = (ValueError, OSError, FloatingPointError)


def run(main, errors=(), flags_parser=None):
    """Runs a program: parses its flags, calls `main` and exits.

    Args:
        main: a function of nothing, or of the list of arguments that are no flags.
        errors: classes of exceptions, beside `ERRORS`, that are told in one line.
        flags_parser: of absl's `app.run`; it raises ValueError for flags that are wrong.
    """
    name = pathlib.Path(sys.argv[0]).name
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
