"""Times .tflite files in turn: median, spread and peak memory.

    python export/benchmark.py a.tflite b.tflite --runs=50 --threads=1 --delegate

It is `tf-lcnn benchmark`; `--help` has its flags, and tf_lcnn/commands/benchmark.py more.
"""

from tf_lcnn.commands import benchmark

if __name__ == "__main__":
    benchmark.start()
