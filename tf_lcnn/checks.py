"""Checks at the doors of the library: numbers, and examples in every form that is natural."""

import importlib
import numbers
import os
import pathlib

import numpy as np

# Examples of an array that are handed on at a time.
_BATCH = 100

_TAKEN = (
    "an array (count, ...), a pair (inputs, labels) of arrays, or a tf.data.Dataset, generator or "
    "keras.utils.PyDataset of batches"
)


class MissingExtraError(ImportError):
    """A package is not installed that an extra of this one brings."""


def imported(name, extra, what):
    """The module of this name.

    Args:
        name: dotted.
        extra: the extra of this package that brings it.
        what: what needs it, in the plural, for the message.

    Raises:
        MissingExtraError: it is not installed.
    """
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Of what it imports itself it says more.
        if (error.name or "").partition(".")[0] != package:
            raise
        raise MissingExtraError(
            f'{what} need {package}, which is not installed: pip install "tf-lcnn[{extra}]".'
        ) from None


def whole_number(value, what, least=1, most=None):
    """`value` as an int.

    Args:
        value: an int or NumPy integer; True and 3.0 are none.
        what: what it is, for the message.
        least, most: its bounds; None is no bound.

    Raises:
        ValueError: it is no whole number, or out of bounds.
    """
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))
    inside = whole and (least is None or value >= least) and (most is None or value <= most)
    if not inside:
        bounds = "" if least is None else f" >= {least}"
        bounds = bounds if most is None else f" from {least} to {most}"
        raise ValueError(f"{what} must be a whole number{bounds}, not {value!r}.")
    return int(value)


def number(value, what, least=None, most=None, above=None):
    """`value` as a finite float.

    Args:
        value: a number; True is none.
        what: what it is, for the message.
        least, most, above: its bounds; None is no bound.

    Raises:
        ValueError: it is no number, not finite, or out of bounds.
    """
    real = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    inside = real and np.isfinite(value)
    inside = inside and (least is None or value >= least) and (most is None or value <= most)
    inside = inside and (above is None or value > above)
    if not inside:
        bounds = "" if least is None else f" >= {least}"
        bounds += "" if above is None else f" > {above}"
        bounds += "" if most is None else f" and <= {most}"
        raise ValueError(f"{what} must be a finite number{bounds}, not {value!r}.")
    return float(value)


def first_line(error):
    """The first line of an exception's message, or its class where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def input_shape(model):
    """The shape of a model's one input, without the batch; None where a size is open.

    Raises:
        ValueError: it has several inputs, or is not built.
    """
    shapes = [tuple(x.shape[1:]) for x in getattr(model, "inputs", None) or ()]
    if len(shapes) != 1:
        raise ValueError(
            f"{getattr(model, 'name', model)} has {len(shapes)} inputs: a built model with one "
            "input works."
        )
    return shapes[0]


def batches(data, shape, what="examples"):
    """Yields (inputs, labels) of data in any natural form.

    Args:
        data: an array or list of examples (count, ...); a pair of such and their labels, or these
            and weights, which are not used; or an iterable (tf.data.Dataset, generator,
            keras.utils.PyDataset) of batches: inputs, (inputs, labels) or (inputs, labels,
            weights). Single examples are batches of one.
        shape: of one example; None where any size is right.
        what: what the data are, for messages.

    Yields:
        (float32 array (count, ...), labels as an array, or None).

    Raises:
        ValueError: there are none, they are in another form, of another shape, no numbers, or
            have NaN or infinity in them.
    """
    shape, count = tuple(shape), 0
    for inputs, labels in _parts(data, shape, what):
        inputs = _checked(inputs, shape, what)
        if labels is not None:
            labels = np.asarray(labels)
            if inputs.ndim == len(shape):
                labels = labels[None]
        if inputs.ndim == len(shape):
            inputs = inputs[None]
        if labels is not None and len(labels) != len(inputs):
            raise ValueError(f"The {what} are {len(inputs)} inputs with {len(labels)} labels.")
        count += len(inputs)
        if len(inputs):
            yield inputs, labels
    if not count:
        raise ValueError(
            f"No {what}: the data are empty, or a generator that is used up: {_TAKEN} works."
        )


def inputs(data, shape, what="examples", count=None):
    """The inputs of data in any natural form, as one float32 array (count, ...).

    Args:
        data, shape, what: see `batches`.
        count: at most so many; None takes all.

    Raises:
        ValueError: see `batches`; or examples of several sizes, where `shape` leaves one open.
    """
    parts, taken = [], 0
    for part, _ in batches(data, shape, what):
        parts.append(part if count is None else part[: count - taken])
        taken += len(parts[-1])
        if taken == count:
            break
    sizes = dict.fromkeys(part.shape[1:] for part in parts)
    if len(sizes) > 1:
        raise ValueError(
            f"The {what} have several shapes, {', '.join(map(str, sizes))}: one shape works here."
        )
    return np.concatenate(parts)


def _parts(data, shape, what):
    """Pairs (inputs, labels), not checked yet."""
    if data is None:
        raise ValueError(f"No {what}: {_TAKEN} works.")
    refused = isinstance(data, (str, bytes, dict, set)) or hasattr(data, "__fspath__")
    if refused or not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
        raise ValueError(f"The {what} are of type {type(data).__name__}: {_TAKEN} works.")
    if _is_pair(data, shape):
        yield from _slices(*data[:2], what)
    elif hasattr(data, "shape") and hasattr(data, "dtype"):
        yield from _slices(data, None, what, shape)
    elif isinstance(data, (list, tuple)) and data and _rank(data[0]) == len(shape):
        yield from _slices(_array(data, what), None, what, shape)
    elif isinstance(data, (list, tuple)) or hasattr(data, "__iter__"):
        yield from map(_unpacked, data)
    else:
        # A PyDataset has a length and items, and may be no iterator.
        yield from (_unpacked(data[i]) for i in range(len(data)))


def _is_pair(data, shape):
    if not (isinstance(data, (list, tuple)) and len(data) in (2, 3)):
        return False
    first, second, *weights = map(_rank, data)
    if weights not in ([], [1]):
        return False
    if first != len(shape) + 1 or second is None:
        return False
    if second > 2 and isinstance(data, list):
        # A list of two batches; labels that are images come in a tuple.
        return False
    return len(data[0]) == len(data[1])


def _rank(value):
    """How many axes an array or nested list has; None for anything else."""
    if hasattr(value, "shape"):
        return len(value.shape)
    if isinstance(value, (list, tuple)):
        inner = _rank(value[0]) if value else 0
        return None if inner is None else 1 + inner
    return 0 if isinstance(value, numbers.Number) else None


def _slices(values, labels, what, shape=None):
    if shape is not None and len(values.shape) == len(shape):
        raise ValueError(
            f"The {what} have shape {tuple(values.shape)}, one example without the axis of the "
            f"batch: {what}[None] works."
        )
    for start in range(0, len(values), _BATCH):
        part = slice(start, start + _BATCH)
        yield values[part], None if labels is None else labels[part]


def _unpacked(item):
    if isinstance(item, (list, tuple)):
        return item[0], item[1] if len(item) > 1 else None
    return item, None


def _array(values, what):
    try:
        values = np.asarray(values)
    except (ValueError, TypeError):
        raise ValueError(
            f"The {what} do not have one shape, or are no arrays: {_TAKEN} works."
        ) from None
    if values.dtype.kind not in "fiub":
        # bfloat16 is of another kind.
        try:
            values = values.astype(np.float32)
        except (ValueError, TypeError):
            raise ValueError(
                f"The {what} are of type {values.dtype}, not numbers: {_TAKEN} works."
            ) from None
    return values


def _checked(values, shape, what):
    if isinstance(values, dict):
        raise ValueError(
            f"The {what} come in a dict ({', '.join(map(str, values))}): {_TAKEN} works."
        )
    values = _array(values, what).astype(np.float32)
    sizes = values.shape if values.ndim == len(shape) else values.shape[1:]
    fits = values.ndim in (len(shape), len(shape) + 1) and all(
        wanted in (None, size) for wanted, size in zip(shape, sizes, strict=True)
    )
    if not fits:
        raise ValueError(
            f"The {what} have shape {values.shape}, but {shape} each is taken, with one more axis "
            "in front."
        )
    if not np.isfinite(values).all():
        raise ValueError(f"The {what} have NaN or infinity in them.")
    return values


def file_to_write(path):
    """The path of a file to write, as a pathlib.Path; for before the work that makes its content.

    Raises:
        FileNotFoundError: its folder does not exist.
        ValueError: it is a folder, or no path.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(f"The path of a file is a string or Path, not {path!r}.")
    path = pathlib.Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {path.parent} of {path.name} does not exist.")
    return path
