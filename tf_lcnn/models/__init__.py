"""The networks of all tasks, as LCNNs and as their dense twins, built by name."""

import dataclasses
import functools
import math

import keras

from tf_lcnn import checks
from tf_lcnn.data import patterns
from tf_lcnn.layers.convolution import LookupConv1D, LookupConv2D
from tf_lcnn.layers.dense import LookupDense
from tf_lcnn.layers.sparsity import LookupL1
from tf_lcnn.models import alexnet, demosaicing, denoising, pointnet, resnet, super_resolution


@dataclasses.dataclass(frozen=True)
class _Family:
    """A dense net and its LCNN.

    Attributes:
        net: (conv, dense, input shape, answers, dictionary sizes) -> (inputs, outputs); it takes
            `mosaic` too where it `takes_mosaics`.
        input_shape: what it was designed for.
        answers: its classes by default, or its scale; None where it has neither.
        presets: name -> dictionary sizes.
        threshold_scale: of its LCNN.
        task: of `tasks.names()`.
    """

    net: callable
    input_shape: tuple
    answers: int | None
    presets: dict
    threshold_scale: float
    task: str = "classification"
    takes_mosaics: bool = False


def _families():
    """name without "_lcnn" -> _Family."""
    families = {}
    for name, filters in (("alexnet", alexnet.NARROW), ("alexnet_wide", alexnet.WIDE)):
        net = functools.partial(alexnet.alexnet, filters)
        presets, scale = alexnet.PRESETS, alexnet.THRESHOLD_SCALE
        families[name] = _Family(net, (224, 224, 3), 1000, presets, scale)
    for depth in resnet.IMAGENET:
        net = functools.partial(resnet.imagenet, depth)
        presets, scale = resnet.IMAGENET_PRESETS, resnet.THRESHOLD_SCALE
        families[f"resnet{depth}"] = _Family(net, (224, 224, 3), 1000, presets, scale)
    for depth in resnet.CIFAR:
        net = functools.partial(resnet.cifar, depth)
        presets, scale = resnet.CIFAR_PRESETS, resnet.THRESHOLD_SCALE
        families[f"resnet{depth}"] = _Family(
            *(net, (32, 32, 3), 10, presets, scale), takes_mosaics=True
        )
    luma = (None, None, 1), 2
    for net, presets in (
        (super_resolution.espcn, super_resolution.ESPCN_PRESETS),
        (super_resolution.vdsr, super_resolution.VDSR_PRESETS),
    ):
        scale, task = super_resolution.THRESHOLD_SCALE, "super_resolution"
        families[net.__name__] = _Family(net, *luma, presets, scale, task)
    for name, size, presets in (
        ("dncnn", denoising.DNCNN, denoising.PRESETS),
        ("dncnn_small", denoising.SMALL, denoising.SMALL_PRESETS),
    ):
        net, scale = functools.partial(denoising.dncnn, size), denoising.THRESHOLD_SCALE
        families[name] = _Family(net, (None, None, 1), None, presets, scale, "denoising")
    net, presets, scale = demosaicing.demosaic, demosaicing.PRESETS, demosaicing.THRESHOLD_SCALE
    families["demosaic"] = _Family(
        *(net, (None, None, 1), None, presets, scale, "demosaicing"), takes_mosaics=True
    )
    for name, width, presets in (
        ("pointnet", pointnet.WIDTH, pointnet.PRESETS),
        ("pointnet_small", pointnet.SMALL_WIDTH, pointnet.SMALL_PRESETS),
    ):
        net, scale = functools.partial(pointnet.pointnet, width), pointnet.THRESHOLD_SCALE
        families[name] = _Family(net, (1024, 3), 40, presets, scale, "point_clouds")
    return families


# Points have one axis beside their coordinates, images two.
_CONVOLUTIONS = {
    1: (keras.layers.Conv1D, LookupConv1D),
    2: (keras.layers.Conv2D, LookupConv2D),
}


_FAMILIES = _families()


def names(task=None):
    """The names that `build` knows, sorted; those of one task, or all."""
    dense = [name for name, family in _FAMILIES.items() if task in (None, family.task)]
    lcnn = [f"{name}_lcnn" for name in dense if name != "alexnet_wide"]
    return sorted([*dense, *lcnn])


def _family(name):
    if name not in names():
        raise ValueError(f"Unknown model {name!r}: {', '.join(names())}.")
    return _FAMILIES[name.removesuffix("_lcnn")]


def task(name):
    """The name of the task that the named model is for."""
    return _family(name).task


def input_shape(name):
    """The input shape that the named model was designed for.

    It is (height, width, channels) of an image, or (points, 3) of a cloud of them.
    """
    return _family(name).input_shape


def twin(name):
    """The name of the dense net of equal shape; a dense net is its own twin."""
    _family(name)
    return name.removesuffix("_lcnn")


def _dictionary_sizes(name, presets, given):
    if isinstance(given, str):
        if given not in presets:
            raise ValueError(f"Unknown preset {given!r} for {name}: {', '.join(presets)}.")
        return presets[given]
    expected = len(presets["fast"])
    sizes = tuple(given) if hasattr(given, "__iter__") else (given,)
    if len(sizes) != expected:
        raise ValueError(
            f"{name} takes {expected} dictionary sizes, or {', '.join(presets)}, not "
            f"{len(sizes)}: {given!r}."
        )
    return tuple(
        checks.whole_number(k, "A dictionary size (0 keeps a stage plain)", 0) for k in sizes
    )


def _input_shape(name, given, own):
    if given is None:
        return own
    shape = tuple(given) if isinstance(given, (list, tuple)) else ()
    if len(shape) != len(own):
        raise ValueError(f"{name} takes an input_shape like {own}, not {given!r}.")
    return tuple(
        None if size is None else checks.whole_number(size, "A size of input_shape")
        for size in shape
    )


def build(
    name,
    input_shape=None,
    classes=None,
    dictionary_sizes="fast",
    l1=0.0,
    threshold_scale=None,
    threshold_gradient="masked",
    scale=None,
    mosaic=None,
):
    """Builds a network by name; it returns logits, or an image.

    Args:
        name: one of `names()`; NAME_lcnn is the LCNN of its dense twin NAME.
        input_shape: (height, width, channels), or (points, 3); None takes the network's own.
            ResNets take None for height and width, PointNets for the points: any size.
        classes: None takes 1000 for the ImageNet families, 10 for CIFAR, 40 for PointNet;
            super-resolution, denoising and demosaicing have none.
        dictionary_sizes: "fast", "accurate", "register", or a size per stage: conv1, conv2-5,
            fc6-7 for AlexNet; conv1 and the four stages for the ImageNet ResNets; the three
            stages for the CIFAR ResNets; the second and third convolution for ESPCN; one for all
            for VDSR and DnCNN; the first convolution and the others for demosaicing; narrow, wide
            and fully connected layers for PointNet, which has no "register". A size of 0 keeps
            the stage plain, and so does one that is not smaller than the layer's n*kh*kw weight
            vectors. Dense nets ignore it. The sizes of "register" are those that the native
            delegate has registers for, 16 to 128; in int8 it takes four lookups per position
            (`TopS(4)`) in the time of one.
        l1: strength lambda' of `LookupL1`; 0 for none.
        threshold_scale: see `LookupConv2D`; None takes the paper's, 0.01 for AlexNet and 0.001
            for ResNet, and for PointNet too.
        threshold_gradient: see `sparsity.threshold`.
        scale: of super-resolution, how many times as large an image is to become; None takes 2.
        mosaic: the pattern of a Bayer mosaic (`data.bayer`), of which the network takes tiles of
            2x2: CIFAR ResNets, whose first convolution then has lookups too, and demosaicing,
            which starts as bilinear interpolation of that pattern; None is RGGB for it.

    Raises:
        ValueError: unknown name or preset, wrong number of dictionary sizes, a negative
            size, l1 or threshold_scale, an input too small for the network, or arguments of
            other types.
    """
    family = _family(name)
    sizes = _dictionary_sizes(name, family.presets, dictionary_sizes)
    if name == twin(name):
        sizes = (0,) * len(sizes)
    shape = _input_shape(name, input_shape, family.input_shape)
    answers = _answers(name, family, classes, scale)
    how = {} if mosaic is None else {"mosaic": mosaic}
    if how:
        patterns.check_pattern(mosaic)
        if not family.takes_mosaics:
            nets = ", ".join(x for x in names() if _family(x).takes_mosaics)
            raise ValueError(f"{name} takes no mosaics: {nets} do.")
        patterns.check_even([size or 0 for size in shape[:2]], "Mosaics")
    loose = family.threshold_scale if threshold_scale is None else threshold_scale
    lookup = {
        "threshold_scale": checks.number(loose, "threshold_scale", 0),
        "threshold_gradient": threshold_gradient,
    }
    if checks.number(l1, "l1", 0):
        lookup["kernel_regularizer"] = LookupL1(l1)
    try:
        makers = _layer_makers(lookup, len(shape) - 1)
        inputs, outputs = family.net(*makers, shape, answers, sizes, **how)
    except ValueError as error:
        # Keras tells in many lines that a map became too small; ours are of one line.
        if "\n" not in str(error):
            raise
        raise ValueError(
            f"{name} does not fit an input of {shape}; it was designed for {family.input_shape}."
        ) from error
    return keras.Model(inputs, outputs, name=name)


def _answers(name, family, classes, scale):
    """How many classes, or how many times as large; None of what has neither."""
    of_tasks = {"super_resolution": "scale", "denoising": None, "demosaicing": None}
    own = of_tasks.get(family.task, "classes")
    given = {"scale": scale, "classes": classes}
    value = given.pop(own, None)
    for other, wrong in given.items():
        if wrong is not None:
            raise ValueError(f"{name} is for {family.task}, which knows no {other}: {wrong!r}.")
    return family.answers if value is None else checks.whole_number(value, "classes or scale")


def _layer_makers(lookup, rank):
    """Functions that add a convolution and a dense layer, with lookups where they save any.

    Args:
        lookup: arguments of lookup layers beside the size of their dictionary.
        rank: how many axes a convolution goes along, 1 or 2.
    """
    plain, with_lookups = _CONVOLUTIONS[rank]

    def conv(x, filters, kernel_size, dictionary_size=None, **arguments):
        arguments = {"use_bias": False, "kernel_initializer": "he_normal", **arguments}
        area = math.prod(kernel_size) if isinstance(kernel_size, tuple) else kernel_size**rank
        if not dictionary_size or dictionary_size >= filters * area:
            return plain(filters, kernel_size, **arguments)(x)
        layer = with_lookups(filters, kernel_size, dictionary_size, **arguments, **lookup)
        return layer(x)

    def dense(x, units, dictionary_size=None, **arguments):
        if not dictionary_size or dictionary_size >= units:
            return keras.layers.Dense(units, **arguments)(x)
        return LookupDense(units, dictionary_size, **arguments, **lookup)(x)

    return conv, dense
