"""Programs that print the tables of the documents: `python -m benchmarks.latency.delegate`."""

# First of all: it keeps TensorFlow quiet.
import tf_lcnn  # noqa: F401
