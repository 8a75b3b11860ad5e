"""The flags of train.py; `training.run` says which go together.

It is imported for its effect, by train.py alone.
"""

import functools

from absl import flags

from tf_lcnn import models, tasks
from tf_lcnn.compression import convert, size_plan
from tf_lcnn.data import bayer, datasets, patterns, point_clouds
from tf_lcnn.layers import deep_lookup, levels, sparsity
from tf_lcnn.tasks import restoration
from tf_lcnn.training import callbacks, optimizers

define_count = functools.partial(flags.DEFINE_integer, lower_bound=1)

flags.DEFINE_enum("task", "classification", tasks.names(), "What the network is for.")
flags.DEFINE_string(
    *("dataset", None),
    "digits, image_folder, a TFDS name like cifar10, or of point clouds "
    f"{', '.join(point_clouds.NAMES)}; default: the task's.",
)
flags.DEFINE_string("data_dir", None, "Where the data lies; for image_folder a folder or zip.")
define_count("image_size", None, "Height and width of the input; default: the data's.")
define_count("points", None, "Point clouds: points of each; default: the data's.")
flags.DEFINE_list("class_names", None, "Classes of image_folder in the order of their labels.")
flags.DEFINE_string(
    "preprocessing",
    "own",
    "How pixels become inputs, as the parent was trained: own (statistics of the training images), "
    f"{', '.join(datasets.PREPROCESSING)}, or mean,std of pixels 0 to 255.",
)
flags.DEFINE_boolean("download", False, "Let TFDS download a missing data set.")
flags.DEFINE_integer("scale", None, "Super-resolution: times as large; default: 2.")
flags.DEFINE_float("sigma", None, "Denoising: of the noise, of pixels 0 to 255; default: 25.")
flags.DEFINE_enum(
    *("mosaic", None, patterns.PATTERNS),
    "Inputs are mosaics of this Bayer pattern; demosaicing: default RGGB.",
)
flags.DEFINE_float("shot", None, f"Mosaics: noise variance per signal; default: {bayer.SHOT:g}.")
flags.DEFINE_float("read", None, f"Mosaics: deviation of dark noise; default: {bayer.READ:g}.")
flags.DEFINE_string("target_dir", None, "A filter: the folder of the photos after it.")
flags.DEFINE_enum(
    "loss", "l1", list(restoration.LOSSES), "Of photos: mean absolute or square error."
)
define_count("patch_size", None, "Height and width of a patch, large; default: 48 * scale; 40; 64.")
define_count("patches", None, "Random patches of each photo in an epoch; default: 16.")
flags.DEFINE_list("test_dirs", None, "Folders, or zips, of test photos; default: out of data_dir.")

flags.DEFINE_string("model", None, f"One of: {', '.join(models.names())}; default: the task's.")
flags.DEFINE_list(
    "dictionary_sizes",
    ["fast"],
    "fast, accurate, register, or one size per stage, with commas; 0: plain.",
)
flags.DEFINE_float("l1", 0.0, "lambda' of the L1 term; the paper: 0.3 fast, 0.1 accurate.")
flags.DEFINE_float("threshold_scale", None, "c in eps = c * sigma; default: the paper's.")
flags.DEFINE_enum("threshold_gradient", "masked", sparsity.GRADIENTS, "Gradient of the threshold.")
define_count("top_s", None, "Lookups per kernel position and filter; default: no bound.")
flags.DEFINE_enum("top_s_when", "batch", callbacks.WHEN, "When the bound is enforced.")
define_count("top_s_from", None, "Start with this many lookups and go down to top_s.")
define_count("top_s_epochs", None, "Reach top_s in this epoch; default: half of all.")

flags.DEFINE_string("init_from", None, "Code this trained model: a .keras file or a name in zoo/.")
flags.DEFINE_enum("family", "lookup", ["lookup", "deep_lookup"], "Layers that --init_from gets.")
define_count("activation_levels", 33, "Of --family=deep_lookup: rows of a table.")
define_count("weight_levels", 33, "Of --family=deep_lookup: columns of a table.")
flags.DEFINE_enum("table", "free", deep_lookup.TABLES, "Of --family=deep_lookup: its form.")
define_count("table_rank", None, "Of --table=low_rank: products in the sum.")
flags.DEFINE_list("keep", [], "Layers, with * and ?, that get no table; nor do first and last.")
flags.DEFINE_string("plan", None, "JSON with k and s of every layer.")
flags.DEFINE_float("speedup", None, "Times as fast as the parent, in int8, measured here.")
flags.DEFINE_float("budget", None, "For the whole LCNN: makes a plan and keeps it in the run.")
flags.DEFINE_enum("budget_unit", size_plan.UNITS[0], size_plan.UNITS, "Bytes are of --numbers.")
flags.DEFINE_boolean("budget_delegate", False, "Milliseconds are with the native delegate.")
flags.DEFINE_enum("budget_quantize", "none", ["none", "int8"], "Milliseconds are in this format.")
flags.DEFINE_string("prices", None, "JSON of what this machine takes; measured once by default.")
flags.DEFINE_enum("init", "trained", convert.INITS, "Whether --init_from's weights are coded.")
define_count("calibration_images", 500, "Training images that the weights are coded on.")
flags.DEFINE_string("coding_cache", None, "Folder of coded layers, to go on from if interrupted.")
flags.DEFINE_boolean("reestimate_bn", True, "Re-estimate batch normalization after coding.")
flags.DEFINE_float("distill", 0.5, "Weight of the dense parent's logits in the loss; 0: none.")
flags.DEFINE_float("temperature", 4.0, "Softens both logits for --distill.")
flags.DEFINE_list("hint_layers", [], "Layers of the dense parent whose output is taught too.")
flags.DEFINE_float("hint_weight", 1.0, "Weight of --hint_layers.")
flags.DEFINE_float("loose_lookups", 1.0, "Start with this many times the lookups of the plan.")
flags.DEFINE_float("loose_rows", 1.0, "Start with this many times its dictionary rows.")
define_count("tighten_epochs", None, "Reach the plan's sizes in this epoch; default: half of all.")
flags.DEFINE_boolean("revive_rows", True, "Dictionary rows that died share the busiest one's work.")
flags.DEFINE_boolean("drop_rows", True, "Leave dictionary rows without lookups out in the end.")

flags.DEFINE_integer("epochs", 10, "Epochs in all; 0 only tests and exports.", lower_bound=0)
define_count("batch_size", 128, "Images per update.")
define_count("break_batch", 1, "Compute each batch in this many parts, to save memory.")
flags.DEFINE_enum("optimizer", "sgd", optimizers.OPTIMIZERS, "Optimizer.")
flags.DEFINE_float("momentum", 0.9, "Momentum of SGD.")
flags.DEFINE_float("learning_rate", 0.1, "Learning rate at the start.")
flags.DEFINE_enum("schedule", "cosine", optimizers.SCHEDULES, "How the learning rate falls.")
flags.DEFINE_float("weight_decay", 0.0, "Decoupled: an update shrinks weights by rate * this.")
flags.DEFINE_integer("weight_decay_epochs", None, "Weight decay ends with this epoch.")
flags.DEFINE_enum(
    "precision", "float32", ["float32", "mixed_float16", "mixed_bfloat16"], "Dtype policy."
)
flags.DEFINE_integer("seed", 0, "Seed of weights, order and augmentation.")

flags.DEFINE_string("run_dir", None, "Directory of the run; default: runs/MODEL_DATASET.")
flags.DEFINE_boolean("overwrite", False, "Replace an earlier run in run_dir.")
flags.DEFINE_boolean("resume", False, "Go on with the run in run_dir after its checkpoint.")
define_count("checkpoint_steps", None, "Checkpoint within an epoch too, after so many updates.")
flags.DEFINE_string("retrain", None, "Start from this trained .keras file.")
flags.DEFINE_boolean("test_only", False, "Only test the model of --retrain, or of run_dir.")
flags.DEFINE_boolean("benchmark", False, "Only print what the model costs.")
flags.DEFINE_boolean("tensorboard", False, "Write TensorBoard logs too.")
flags.DEFINE_enum(
    *("numbers", "float32", ["float32", *levels.FORMATS]),
    "Of the .tflite; the net is fitted to them. per_tensor: one scale for all of D, P or a kernel.",
)
flags.DEFINE_boolean("export", True, "Write a .tflite and prove it on the whole test set.")

flags.DEFINE_boolean("distribute", False, "Train on all devices of all hosts; several need JAX.")
flags.DEFINE_string("coordinator", None, "HOST:PORT of host 0; clusters tell JAX by themselves.")
define_count("processes", None, "With --coordinator: how many hosts there are.")
flags.DEFINE_integer("process", None, "With --coordinator: the number of this host, from 0.")
define_count("timeout", 300, "Seconds to wait for the other hosts at the start.")
