"""Point clouds: classification of sets of points; loss, metrics and score are those of all classes.

The regularizer of PointNet's feature transform is part of the network, see `models.pointnet`, so
that any training adds it to the loss.
"""

import numpy as np
import tensorflow as tf

from tf_lcnn.data import point_clouds
from tf_lcnn.tasks.classification import Classification

# Standard deviation of the noise that training adds to coordinates, and its bound: PointNet's.
JITTER = 0.01
MOST_JITTER = 0.05


class PointClouds(Classification):
    """The task of a network that returns a logit per class of a point cloud."""

    name = networks = "point_clouds"
    dataset = "digits_points"
    model = "pointnet_small_lcnn"
    flags = ("points",)

    def load(self, settings, own_shape, parent=None):
        """The data set of a run, with the points of its flag or its parent.

        Args:
            settings: a `training.run.Run`.
            own_shape: of the network, which takes any number of points.
            parent: the trained model that it starts from, or None.
        """
        points = settings.points
        if points is None and parent is not None:
            points = parent.input_shape[1]
        return point_clouds.load(settings.dataset, settings.data_dir, points)

    def suspicion(self, settings):
        return f"was it trained on {settings.dataset}?"

    def augment(self, dataset, cloud, draw):
        """A training input: turned as far as it keeps the class, each point moved a little.

        Args:
            dataset: a `data.point_clouds.PointClouds`.
            cloud: as it is stored, (points, 3).
            draw: two integers that seed what is drawn.

        Returns:
            float32 tensor (points, 3).
        """
        cloud = dataset.normalize(cloud)
        if dataset.rotation is not None:
            cloud = tf.matmul(cloud, rotation(dataset.rotation, draw), transpose_b=True)
        moved = JITTER * tf.random.stateless_normal(cloud.shape, draw + 1)
        return cloud + tf.clip_by_value(moved, -MOST_JITTER, MOST_JITTER)


def rotation(kind, draw):
    """A random rotation matrix (3, 3).

    Args:
        kind: "any", evenly from all rotations; or "vertical", about the second axis.
        draw: two integers that seed it.
    """
    if kind == "vertical":
        half = tf.random.stateless_uniform((), draw, 0, np.pi)
        w, x, y, z = tf.cos(half), 0.0, tf.sin(half), 0.0
    else:
        # Four normal numbers point evenly in all directions, and unit quaternions are rotations.
        quaternion = tf.random.stateless_normal((4,), draw)
        w, x, y, z = tf.unstack(quaternion / tf.norm(quaternion))
    return tf.stack(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
