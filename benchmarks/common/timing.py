"""Flags of the programs that time .tflite files, and the timing as they say."""

from absl import flags

from tf_lcnn.runtime import timing

FLAGS = flags.FLAGS

flags.DEFINE_integer("runs", 50, "Measured turns of each file.", lower_bound=1)
flags.DEFINE_integer("warmup", 5, "Turns before, not measured.", lower_bound=0)
flags.DEFINE_integer("threads", 1, "Threads of LiteRT, and of the delegate.", lower_bound=1)

# Runs in a turn, so that a network finds its weights in the caches as it does from image to image.
BATCH = 4


def measure(paths, threads=None, delegates=False, batch=BATCH):
    """(seconds (turns, files), peak KiB per file), as `runtime.timing.measure` has it.

    Args:
        paths: .tflite files.
        threads: of all files, or a list; None takes the flag's.
        delegates, batch: see `runtime.timing.measure`.
    """
    threads = FLAGS.threads if threads is None else threads
    return timing.measure(paths, FLAGS.runs, FLAGS.warmup, threads, delegates, batch)
