"""int8 in the loop (placeholder while the float path is being tried)."""
import contextlib
@contextlib.contextmanager
def rounded(model, images):
    yield
