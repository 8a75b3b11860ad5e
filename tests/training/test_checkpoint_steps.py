"""A run that stopped within an epoch goes on as if it had not."""

import keras
import numpy as np
import pytest
from absl.testing import flagsaver

import train
from tf_lcnn.models import saving
from tf_lcnn.training import run_directory

# Digits have 5 updates an epoch of this batch.
FLAGS = ("--dataset=digits", "--batch_size=256", "--epochs=3", "--top_s=3", "--top_s_from=4")
EXACT = ("loss", "accuracy", "val_loss", "val_accuracy", "density")


class Stopped(Exception):
    """What stands for the end of a process."""


class Steps(keras.callbacks.Callback):
    """Notes the loss of each batch; stops the run after one of them."""

    def __init__(self, losses, stop=None):
        super().__init__()
        self.losses, self.stop = losses, stop

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.losses[self.epoch, batch] = logs["loss"]
        if (self.epoch, batch) == self.stop:
            raise Stopped


@pytest.fixture
def run(monkeypatch):
    """Runs train.py in this process, to its end or to a batch: the losses of its batches."""
    made = train.make_callbacks

    def run(*given, stop=None):
        losses = {}
        monkeypatch.setattr(
            train, "make_callbacks", lambda *x, **more: [*made(*x, **more), Steps(losses, stop)]
        )
        with flagsaver.flagsaver():
            train.FLAGS.unparse_flags()
            train.parse(["train.py", *map(str, given)])
            if stop is None:
                train.main()
            else:
                with pytest.raises(Stopped):
                    train.main()
        return losses

    return run


@pytest.fixture(scope="module")
def unbroken():
    """batches of an update -> (directory, losses) of a run that never stopped."""
    return {}


def rows(run_dir):
    return np.genfromtxt(run_dir / "log.csv", delimiter=",", names=True)


@pytest.mark.parametrize(
    ("parts", "stop", "goes_on"),
    [
        # (batches of an update, the batch after which it stops, the one that it goes on with)
        (1, (0, 3), (0, 2)),
        (2, (1, 8), (1, 8)),
        (1, (2, 4), (2, 4)),
    ],
)
def test_a_run_that_stopped_within_an_epoch_is_the_unbroken_one(
    run, parent, unbroken, tmp_path_factory, parts, stop, goes_on, capsys
):
    flags = (*FLAGS, f"--break_batch={parts}", "--noexport")
    whole, broken = (tmp_path_factory.mktemp("runs") / name for name in ("whole", "broken"))
    if parts not in unbroken:
        losses = run(f"--retrain={parent}", *flags, f"--run_dir={whole}")
        unbroken[parts] = whole, losses
    whole, expected = unbroken[parts]
    given = (*flags, f"--run_dir={broken}", "--checkpoint_steps=2")
    before = run(f"--retrain={parent}", *given, stop=stop)
    assert "Resuming" not in capsys.readouterr().out
    after = run(*given, "--resume")
    told = f"Resuming after epoch {goes_on[0]} of 3, update {goes_on[1] // parts} of 5 of the next"
    assert told in capsys.readouterr().out
    assert next(iter(after)) == goes_on
    assert {**before, **after} == expected
    for figure in EXACT:
        np.testing.assert_array_equal(rows(broken)[figure], rows(whole)[figure])
    models = [saving.load_model(x / run_directory.MODEL) for x in (whole, broken)]
    for a, b in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_checkpoint_within_an_epoch_is_made_of_a_loss_that_is_no_number(run, parent, tmp_path):
    given = (*FLAGS, "--learning_rate=1e30", "--checkpoint_steps=1", f"--run_dir={tmp_path}")
    with pytest.raises(FloatingPointError, match=r"The loss is nan in epoch 1, batch \d"):
        run(f"--retrain={parent}", *given)
    left = tmp_path / run_directory.CHECKPOINT
    if left.exists():
        assert all(np.isfinite(x).all() for x in saving.load_model(left).get_weights())
