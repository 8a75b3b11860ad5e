"""Processor time of what runs in one thread, which other work on the machine does not lengthen."""

import time


def seconds(run):
    """What `run()` takes of this thread's processor time; of others', nothing is counted."""
    start = time.thread_time()
    run()
    return time.thread_time() - start
