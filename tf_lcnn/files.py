"""Files that are whole or not there."""

import contextlib
import os
import pathlib


@contextlib.contextmanager
def replacing(path):
    """Gives a path beside `path` to write to, and renames that file into place when it is done.

    After an error, a full disk for example, `path` is as it was and nothing is left beside it.
    """
    path = pathlib.Path(path)
    beside = path.with_name(f"partial-{path.name}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write(path, content):
    """Writes text or bytes to a file."""
    with replacing(path) as beside:
        beside.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
