"""Writes the files of this folder; for tf-lcnn 0.1.0 alone, see README.md."""

import pathlib
import runpy
import sys

import keras
import numpy as np

from tf_lcnn import distill, lookupify, planner, sparsity, training
from tf_lcnn.layers import LookupConv2D, LookupDense

layers = keras.layers
RUN = (
    "--init_from=parent.keras",
    "--plan=plan.json",
    "--run_dir=run",
    "--epochs=2",
    "--batch_size=256",
    "--calibration_images=32",
    "--learning_rate=0.01",
    "--weight_decay=0.001",
)


def lookup_model():
    """Every option of the layers that a file keeps: bounds, thresholds, paths, initializers."""
    # Coefficients on both sides of the threshold.
    lookup = {"threshold_scale": 1.0, "kernel_regularizer": sparsity.LookupL1(0.1)}
    inputs = keras.Input((8, 8, 3))
    x = LookupConv2D(6, 3, 4, padding="same", name="conv", **lookup)(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = LookupConv2D(
        8, 1, 5, strides=2, use_bias=False, forward="stages", threshold_scale=0.0, name="strided"
    )(x)
    x = LookupConv2D(
        5, 3, 4, threshold_gradient="straight_through", forward="folded", name="folded", **lookup
    )(x)
    x = LookupConv2D(4, 1, None, name="plain")(x)
    x = layers.Flatten(name="flat")(x)
    return keras.Model(inputs, LookupDense(5, 3, name="dense", **lookup)(x), name="lookups")


def shared_model():
    inputs = keras.Input((8, 8, 3))
    first = LookupConv2D(6, 3, 4, padding="same", threshold_scale=0.0, name="first")
    x = first(inputs)
    second = LookupConv2D(7, 1, dictionary=first.dictionary, threshold_scale=0.0, name="second")(
        inputs
    )
    x = layers.Concatenate(name="both")([x, second])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(5, name="dense")(x), name="shared")


def parent_model():
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv1")(inputs)
    x = layers.BatchNormalization(name="norm1")(x)
    x = layers.ReLU(name="relu1")(x)
    x = layers.Conv2D(12, 3, strides=2, padding="same", name="conv2")(x)
    x = layers.ReLU(name="relu2")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(10, name="dense")(x), name="parent")


def train_a_moment(model, loss, labels, metrics=()):
    model.compile(keras.optimizers.SGD(0.01), loss, metrics=list(metrics))
    images = np.random.default_rng(1).normal(size=(16, *model.input_shape[1:]))
    for _ in range(3):
        model.train_on_batch(images.astype(np.float32), labels)


class Interrupted(training.Checkpoint):
    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        raise KeyboardInterrupt


def main():
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4, 8, 8, 3)).astype(np.float32)
    grey = rng.normal(size=(32, 8, 8, 1)).astype(np.float32)
    saved = {"images": images, "grey": grey}
    labels = np.arange(16) % 5
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    model = lookup_model()
    train_a_moment(model, loss, labels, ["accuracy"])
    model.save("compiled.keras")
    saved["lookups"] = model.predict(images, verbose=0)
    plain = keras.models.load_model("compiled.keras", compile=False)
    plain.save("lookups.keras")

    model = shared_model()
    teacher = rng.normal(size=(16, 5)).astype(np.float32)
    taught = np.concatenate([labels[:, None].astype(np.float32), teacher], axis=1)
    train_a_moment(model, distill.DistillationLoss(5), taught, [distill.LabelAccuracy(5)])
    model.save("distilled.keras")
    saved["shared"] = model.predict(images, verbose=0)

    parent = parent_model()
    train_a_moment(parent, loss, np.arange(16) % 10)
    # Without its optimizer.
    weights = parent.get_weights()
    parent = keras.models.clone_model(parent)
    parent.set_weights(weights)
    parent.save("parent.keras")
    plan = planner.plan(parent, 12000, images=grey)
    plan.save("plan.json")
    coded = lookupify(parent, plan=plan, init="trained", images=grey, cache="coding_cache")
    saved["coded"] = coded.predict(grey, verbose=0)
    np.savez_compressed("outputs.npz", **saved)

    training.Checkpoint = Interrupted
    program = pathlib.Path(training.__file__).parents[1] / "train.py"
    sys.argv = [str(program), *RUN]
    try:
        runpy.run_path(str(program), run_name="__main__")
    except KeyboardInterrupt:
        print("Interrupted after the first epoch.")


if __name__ == "__main__":
    if any(path.suffix in (".keras", ".npz") for path in pathlib.Path().iterdir()):
        sys.exit("Run this in an empty folder.")
    main()
