"""Flagfiles of train.py: found by name, and those of a run that is resumed."""

import pathlib

from absl import flags

from tf_lcnn.training import run, run_directory


def place(configs, arguments):
    """Replaces the bare name of a flagfile by its place below the folder `configs`.

    A flagfile that includes others is replaced by its lines, for absl looks for what is included
    in the current folder alone.

    Raises:
        ValueError: there is no such flagfile, there are several, or one includes itself.
    """
    return _placed(configs, arguments, ())


def _placed(configs, arguments, within):
    """See `place`; `within` are the flagfiles that include one another down to here."""
    placed = []
    for argument in arguments:
        if placed and placed[-1].lstrip("-") == "flagfile":
            argument = f"{placed.pop()}={argument}"
        _, is_flagfile, name = argument.partition("-flagfile=")
        if is_flagfile:
            path = _path(configs, name, within)
            if path in within:
                raise ValueError(f"The flagfile {path} includes itself.")
            lines = _lines(path)
            if any("-flagfile" in line for line in lines):
                placed += _placed(configs, lines, (*within, path))
                continue
            # The spelling of one that is there stays.
            argument = argument if str(path) == name else f"--flagfile={path}"
        placed.append(argument)
    return placed


def _path(configs, name, within):
    """The path of a flagfile: as it is, beside the one that includes it, or below `configs`."""
    beside = within[-1].parent / name if within else pathlib.Path(name)
    for path in (pathlib.Path(name), beside):
        if path.is_file():
            return path
    return _find(configs, name)


def _lines(path):
    """The flags in a flagfile; none where it cannot be read, which absl tells."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        return []
    return [line for line in lines if line and not line.startswith(("#", "//"))]


def _find(configs, name):
    places = sorted(path for path in configs.rglob("*.cfg") if path.match(name))
    if not places:
        there = ", ".join(sorted(path.name for path in configs.rglob("*.cfg")))
        raise ValueError(f"No flagfile {name}; configs/ has: {there}.")
    if len(places) > 1:
        several = ", ".join(str(path.relative_to(configs)) for path in places)
        raise ValueError(f"Several flagfiles are {name}: {several}; name the folder too.")
    return places[0]


def parse(flag_values, configs, arguments):
    """Parses a command line; of a run that is resumed, after the flags that it began with.

    Args:
        flag_values: absl's FlagValues.
        configs: a folder in which, or below which, bare names of flagfiles are found.
        arguments: the program's name, and what comes after it.

    Returns:
        the arguments that are no flags, after the program's name.

    Raises:
        ValueError: flags that are wrong, a flagfile that is not there or not one, or flags that
            are not those of the run that is resumed.
    """
    try:
        rest = flag_values(place(configs, arguments))
        if flag_values.resume and flag_values.retrain:
            # That it began with --retrain is among its stored flags, and behind it.
            raise ValueError(
                "--resume and --retrain do not go together: a resumed run has its own weights."
            )
        if flag_values.resume:
            stored = run.Run.of(flag_values).directory / run_directory.USED_FLAGS
            if stored.is_file():
                rest = _parse_resumed(flag_values, place(configs, arguments), stored)
        return rest
    except flags.Error as error:
        # In one line; absl would add its own.
        raise ValueError(str(error)) from None


def _parse_resumed(flag_values, arguments, stored):
    """Parses the flags of an earlier run and then these, which have to agree with them."""
    program, *given = arguments

    def values(*more):
        flag_values.unparse_flags()
        rest = flag_values([program, f"--flagfile={stored}", *more])
        return {name: flag_values[name].value for name in run.names()}, rest

    before, _ = values()
    now, rest = values(*given)
    run.refuse_changes(before, now, stored)
    return rest
