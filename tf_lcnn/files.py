"""Files that are whole or not there."""

import contextlib
import os
import pathlib
import uuid


@contextlib.contextmanager
def replacing(path):
    """Gives a path beside `path` to write to, and renames that file into place when it is done.

    After an error, a full disk for example, `path` is as it was and nothing is left beside it.
    Processes that write the same file at the same time do not meet: the last one stays. A link
    stays a link, and what it points to is replaced.
    """
    path = pathlib.Path(os.path.realpath(path))
    # The suffix stays: Keras and Matplotlib choose the format by it.
    beside = path.with_name(f"partial-{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def remove_partial(path):
    """Removes what killed processes left of `replacing(path)`; none may be writing it now."""
    path = pathlib.Path(path)
    for left in path.parent.glob(f"partial-{'[0-9a-f]' * 12}-{path.name}"):
        left.unlink(missing_ok=True)


def cache():
    """The folder that keeps what was found once for this machine; it need not be there yet."""
    folder = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(folder) / "tf_lcnn"


def write(path, content):
    """Writes text or bytes to a file."""
    with replacing(path) as beside:
        beside.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
