"""Runs of train.py, one after the other, as one host of several; the loss of each batch is kept.

    python host_runs.py FOLDER '[["--epochs=1", ...], ...]' [--coordinator=... --process=...]

Host 0 writes FOLDER/steps.json: for each run a list of what each batch logged. With TensorFlow the
processor is as many devices as TENSORFLOW_DEVICES says.
"""

import json
import os
import pathlib
import sys

import train
from tf_lcnn.training import flagfiles, hosts, run

# isort: split
import keras


class Recorder(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.steps = []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(float(logs["loss"]))

    def on_test_batch_end(self, batch, logs=None):
        self.steps.append(float(logs["loss"]))

    def on_epoch_end(self, epoch, logs=None):
        self.steps += [logs[x] for x in sorted(logs) if x.startswith("val_") or x == "density"]


def split_processor(devices):
    import tensorflow as tf

    processor = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration()] * devices
    tf.config.set_logical_device_configuration(processor, parts)


def main():
    if keras.backend.backend() == "tensorflow":
        split_processor(int(os.environ["TENSORFLOW_DEVICES"]))
    folder, runs, *place = sys.argv[1:]
    recorded, made = [], train.make_callbacks

    def make_callbacks(*arguments, **more):
        recorded.append(Recorder())
        return [*made(*arguments, **more), recorded[-1]]

    train.make_callbacks = make_callbacks
    flags, kept = train.FLAGS, []

    def parse(arguments):
        flags.unparse_flags()
        flagfiles.parse(flags, train.CONFIGS, ["train.py", *place, *arguments])
        return run.Run.of(flags)

    runs = json.loads(runs)
    parse(runs[0])
    where = (flags.coordinator, flags.processes, flags.process, flags.timeout)
    with hosts.joined(flags.distribute, *where) as team:
        leave = team.leave
        # Another run follows; each begins as if it were the first.
        if team.count > 1:
            team.leave = lambda: keras.distribution.set_distribution(None)
        for arguments in runs:
            train.story(parse(arguments), team)
            kept.append(recorded[-1].steps)
        leave()
    if team.first:
        pathlib.Path(folder, "steps.json").write_text(json.dumps(kept))


if __name__ == "__main__":
    main()
