"""A trained model -> .tflite, its report, and the proof that the two compute the same."""

import collections
import os

import keras

from tf_lcnn import checks, files, tasks
from tf_lcnn.costs.counting import profile
from tf_lcnn.data.examples import Examples
from tf_lcnn.graph.rebuild import in_precision
from tf_lcnn.graph.trace import sublayers
from tf_lcnn.layers import levels
from tf_lcnn.lite import (
    frames,
    learning,
    level_grid,
    metadata,
    narrow,
    open_size,
    packing,
    proving,
    table_forms,
)
from tf_lcnn.lite.choice import AUTO, choose_lowerings, lowered
from tf_lcnn.lite.converter import check_quantization, to_tflite
from tf_lcnn.lite.layerwise import measure
from tf_lcnn.lite.prices import DEFAULT
from tf_lcnn.lite.prices import load as load_prices
from tf_lcnn.lite.proof import ProofError
from tf_lcnn.lite.ranges import equalize
from tf_lcnn.lite.report import Report
from tf_lcnn.runtime.interpreter import operator_names, parse


def convert(model, choices=None, quantize=None, calibration=None, io="float32", default_shape=None):
    """The bytes of a .tflite for batch 1, of builtin ops only.

    Args:
        model: a built Keras model with one input and one output, on the TensorFlow backend.
        choices: see `choice.choose_lowerings`; None chooses by the default prices.
        quantize, calibration, io: see `converter.to_tflite`.
        default_shape: of one input, without the batch: the size that the file has at first, where
            the model leaves sizes open. LiteRT can resize it.

    Raises:
        ValueError: another backend, several inputs or outputs, a size that is open and not given
            here, or what `to_tflite` refuses.
    """
    _refuse(model)
    open_shape = checks.input_shape(model)
    default_shape = open_size.fixed(open_shape, default_shape, model.name)
    if choices is None:
        choices = _choices(model, default_shape, quantize=quantize)
    if None in open_shape:
        open_size.refuse_fixed(choice.lowering for choice in choices)
    variables = [variable.value for variable in model.variables]
    forms = table_forms.of_model(model, quantize)
    choices = narrow.rounded_choices(model, default_shape, choices, quantize)
    with (
        lowered(choices),
        table_forms.lowered(forms, quantize),
        narrow.rounded_kernels(model, default_shape, quantize),
    ):
        content = to_tflite(
            lambda image: model(image, training=False),
            (1, *open_shape),
            variables,
            quantize,
            calibration,
            io,
        )
    if quantize in levels.FORMATS:
        content = level_grid.fitted(content, forms)
    if None in open_shape:
        content = open_size.with_default(content, default_shape)
    if quantize in levels.NARROW:
        content = narrow.narrowed(content)
    # Last: what is shared in the bytes cannot be changed in place.
    return packing.packed(content)


def _choices(model, shape, lowering=AUTO, *how, **arguments):
    """Of `choice.choose_lowerings`; where the model leaves sizes open, those that do too."""
    choices = choose_lowerings(model, lowering, *how, **arguments, input_shape=shape)
    if None not in checks.input_shape(model):
        return choices
    open_size.refuse_fixed([lowering])
    return [open_size.resizable(choice) for choice in choices]


def _refuse(model):
    """Raises ValueError unless a model can be exported."""
    if not isinstance(model, keras.Model):
        raise ValueError(f"A Keras model is exported, not {model!r}.")
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"Export needs the TensorFlow backend, this is {keras.backend.backend()}: load the "
            "saved model with KERAS_BACKEND=tensorflow."
        )
    checks.input_shape(model)
    if len(model.outputs) != 1:
        raise ValueError(f"{model.name} has {len(model.outputs)} outputs: a model with one works.")
    tasks.of(model)
    quantized = [layer.name for layer in sublayers(model) if _is_quantized(layer)]
    if quantized:
        raise ValueError(
            f"{model.name} was quantized by Keras ({quantized[0]} and others), and its layers run "
            "past what the export sees: export the model as it was before, with quantize='int8'."
        )


def _is_quantized(layer):
    return getattr(layer.dtype_policy, "quantization_mode", None) is not None


def operators(content):
    """LiteRT operator -> how many of them the bytes of a .tflite hold.

    Raises:
        ProofError: an operator is not builtin; a phone's runtime would not have it.
    """
    model = parse(content)
    custom = [c.customCode.decode() for c in model.operatorCodes if c.customCode]
    if custom:
        raise ProofError(f"The file has operators that are not builtin: {', '.join(custom)}.")
    names = operator_names(model)
    used = [op.opcodeIndex for graph in model.subgraphs for op in graph.operators]
    return dict(collections.Counter(names[index] for index in used))


def export(
    model,
    path,
    examples,
    *,
    lowering=AUTO,
    optimize="speed",
    prices=DEFAULT,
    delegate=False,
    quantize=None,
    calibration=None,
    io="float32",
    dataset=None,
    layerwise=None,
    task=None,
    frame=None,
    train=None,
):
    """Writes a .tflite and proves that it computes what the model computes in float32.

    Where the model leaves height or width open, the file has the size of the first examples, and
    LiteRT can resize it: it is proved on the examples as they are and on parts and repetitions of
    them too. With `train` the file also learns, see `lite.learning` and `runtime.learning`, and
    some steps of training in it are proved to be those of Keras.

    Args:
        model: see `convert`.
        path: the file to write; a file that fails the proof is left beside it, under the
            name *.rejected.tflite, and `path` is not touched.
        examples: real inputs to compare on, with labels or without: an array (count, ...), a pair
            of arrays, or an iterable of batches, see `checks.batches`.
        lowering, optimize: of lookup layers, see `choice.choose_lowerings`.
        prices: a `prices.Prices`, or the path of a file that `prices.calibrate` wrote.
        delegate: whether the file is for LiteRT with the native delegate, see
            `choice.choose_lowerings`. It runs without it too, and the proof does.
        quantize, io: see `converter.to_tflite`.
        calibration: for int8 and below, real inputs of one size to measure ranges on, in any form
            that `examples` may have. For int8 the ranges of S are equalized on them first; below it
            that would undo what P was rounded to in training. At other sizes, where they may not
            fit as well, the file has to keep as much.
        dataset: a `data.datasets.DataSet`; what the task says of it (labels, normalization)
            becomes the file's metadata.
        layerwise: real inputs of one size to measure each lookup layer on, alone, for the report;
            None measures none.
        task: what the outputs are for, one of `tasks`; None goes by their shape.
        frame: a `frames.Frame`: the file takes what a camera gives, and makes inputs as `dataset`
            says of it. Beside the network, the whole is proved on frames that show the examples.
        train: names of layers of a classifier that the file can train, each with lookups or dense;
            "classifier" is the last dense one. The file is in float32. What of lookup layers moves
            are the coefficients that are not zero, and biases: no threshold makes one zero.

    Returns:
        Report.

    Raises:
        ProofError: the outputs differ by more than `proof.TOLERANCE`, or a quantized file keeps
            less than `proof.MINIMUM_DECIBELS` or loses more than the task allows; LiteRT does not
            load the file, or an operator is not builtin; it learns something else than Keras.
        FileNotFoundError: the folder of `path` does not exist.
        ValueError: see `convert`, `checks.batches` and `learning.plan`.
    """
    path = checks.file_to_write(path)
    _refuse(model)
    check_quantization(quantize, io)
    if train is not None and quantize is not None:
        raise ValueError(f"train with quantize={quantize!r}: a file that learns is in float32.")
    if train is not None and frame is not None:
        raise ValueError("train with frame: a file that learns takes the model's own inputs.")
    front = None if frame is None else _front(model, frame, dataset, io)
    if isinstance(prices, (str, os.PathLike)):
        prices = load_prices(prices)
    if not (dataset is None or isinstance(dataset, Examples)):
        raise ValueError(f"dataset is a data set of `datasets.load`, not {dataset!r}.")
    open_shape = checks.input_shape(model)
    if quantize in levels.FORMATS:
        calibration = checks.inputs(calibration, open_shape, "calibration inputs")
    if layerwise is not None:
        layerwise = checks.inputs(layerwise, open_shape, "inputs of layerwise")
    # A generator gives its batches once, and a rejected file is examined on some of them.
    examples = list(checks.batches(examples, open_shape))
    shape = examples[0][0].shape[1:]
    model = in_precision(model, "float32")
    plan = None if train is None else learning.plan(model, train)
    choices = _choices(model, shape, lowering, optimize, prices, quantize, delegate)
    if quantize == "int8":
        choices = equalize(model, choices, calibration)
    if plan is None:
        network = convert(model, choices, quantize, calibration, io, shape)
    else:
        choices = [choice for choice in choices if choice.source not in plan.behind]
        network = learning.convert(plan, choices)
    content = network if front is None else front.before(network)
    counts = operators(content)
    if dataset is not None:
        described = metadata.describe(model, dataset, profile(model, shape), task, front)
        content = metadata.append(content, described)
    prover = proving.Prover(model, choices, examples, quantize, calibration, task)
    with files.replacing(path) as candidate:
        candidate.write_bytes(content if front is None else network)
        try:
            proof = prover.outputs(candidate)
            if front is not None:
                candidate.write_bytes(content)
            of_frames = None if front is None else prover.of_frames(candidate, front)
            learned = None if plan is None else prover.learning(candidate, plan)
        except ProofError as error:
            rejected = path.with_suffix(".rejected.tflite")
            os.replace(candidate, rejected)
            raise ProofError(f"{rejected}: {error}") from None
    measured = () if layerwise is None else measure(model, choices, layerwise, quantize)
    resizable = open_shape if None in open_shape else None
    tables = tuple(table_forms.of_model(model, quantize))
    return Report(
        *(path, tuple(choices), counts, len(content), proof, io, tuple(measured), shape),
        resizable=resizable,
        tables=tables,
        frame=frame,
        frame_proof=of_frames,
        learning=learned,
    )


def _front(model, frame, dataset, io):
    """The `frames.Front` of a file; ValueError says why there is none."""
    if io != "float32":
        raise ValueError(f"A file that takes frames has bytes as its input anyway: no io={io!r}.")
    front, shape = frames.Front(frame, dataset), checks.input_shape(model)
    if shape != tuple(dataset.image_shape):
        raise ValueError(
            f"{model.name} takes inputs {shape}, and frames become {dataset.image_shape} as "
            f"{dataset.name} has them: build the model for that size; its weights fit."
        )
    return front
