"""The parent of the frontier that is trained here: ResNet-18 on Imagenette at 128 x 128.

    python -m benchmarks.accuracy.imagenette --data_dir=IMAGENETTE --path=runs/resnet18.keras

Imagenette (fast.ai) is ten classes of ImageNet; --data_dir has its training images in `train` and
its 3,925 validation images, which are for the final figure only, in `test`, a folder a class. The
net sees small images first and learns most of what it learns in a fraction of the time
(progressive resizing; Howard et al., DAWNBench 2018). Weights are random at the start.
"""

import keras
from absl import flags

from benchmarks.common import small_maps
from tf_lcnn import models, programs
from tf_lcnn.data import datasets
from tf_lcnn.graph import intercept
from tf_lcnn.models import saving
from tf_lcnn.tasks.classification import Classification
from tf_lcnn.training import optimizers

FLAGS = flags.FLAGS

flags.DEFINE_string("data_dir", None, "Folder of `train` and `test`.", required=True)
flags.DEFINE_string("path", "runs/resnet18.keras", "Where the net goes.")

# (height and width, epochs, learning rate at the start, which falls to 0 as a cosine).
STAGES = ((64, 14, 0.05), (128, 3, 0.02))
BATCH = 64
WEIGHT_DECAY = 0.0005


def main():
    keras.utils.set_random_seed(0)
    task, model, weights = Classification(), None, None
    for size, epochs, rate in STAGES:
        dataset = datasets.load("image_folder", FLAGS.data_dir, size, preprocessing="imagenet")
        # Half the bytes; variables stay float32.
        keras.config.set_dtype_policy("mixed_bfloat16")
        model = models.build("resnet18", dataset.image_shape, len(dataset.class_names))
        if weights:
            model.set_weights(weights)
        updates = dataset.batches_per_epoch(BATCH)
        model.compile(
            optimizers.optimizer(
                "sgd",
                optimizers.learning_rate("cosine", rate, updates, epochs),
                weight_decay=WEIGHT_DECAY,
            ),
            loss=task.loss(),
            metrics=task.metrics(len(dataset.class_names)),
        )
        with intercept.calls(small_maps.calls(model)):
            model.fit(
                dataset.training(BATCH, 0, epochs, size, augment=task.augment),
                epochs=epochs,
                steps_per_epoch=updates,
                validation_data=dataset.evaluation("validation", BATCH),
                shuffle=False,
                verbose=2,
            )
        weights = model.get_weights()
    keras.config.set_dtype_policy("float32")
    model = models.build("resnet18", dataset.image_shape, len(dataset.class_names))
    model.set_weights(weights)
    model.compile(loss=task.loss(), metrics=task.metrics(len(dataset.class_names)))
    saving.save_model(model, FLAGS.path)
    _, accuracy = model.evaluate(dataset.evaluation("test", BATCH), verbose=0)
    print(f"{FLAGS.path}: {accuracy:.2%} of {len(dataset.test)} test images")


if __name__ == "__main__":
    programs.run(main)
