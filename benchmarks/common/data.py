"""Flags of the programs that need the data set on which a net was trained, and the data set."""

from absl import flags

from tf_lcnn.data import datasets

FLAGS = flags.FLAGS

flags.DEFINE_string("dataset", "cifar10", "What the nets were trained on.")
flags.DEFINE_string("data_dir", None, "Where the data lies.")


def load():
    """The `datasets.DataSet` of the flags."""
    return datasets.load(FLAGS.dataset, FLAGS.data_dir)
