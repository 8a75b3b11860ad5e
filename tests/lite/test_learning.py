"""Files that learn: they move what Keras would, beside float64; what is wrong changes nothing."""

import keras
import numpy as np
import pytest
from support.helpers import chain, numpy, random, settle
from support.reference import lookup_conv

from tf_lcnn import LookupConv2D, LookupDense
from tf_lcnn.compression.transfer import add_classes
from tf_lcnn.layers.sparsity import to_lookups, top_s
from tf_lcnn.lite import export, learning
from tf_lcnn.lite.proof import ProofError
from tf_lcnn.runtime import learning as codes
from tf_lcnn.runtime import litert
from tf_lcnn.runtime.interpreter import Interpreter
from tf_lcnn.runtime.learning import Learner

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
)

IMAGES = random((4, 6, 6, 3), 1)
LABELS = np.array([0, 3, 1, 2])


def residual():
    """A first layer, a block with a shortcut and a stride behind it, a classifier with lookups."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(5, 3, padding="same", activation="relu")(inputs)
    y = LookupConv2D(5, 3, 4, padding="same", use_bias=False, name="conv1")(x)
    y = keras.layers.BatchNormalization(name="norm")(y)
    x = keras.layers.ReLU()(keras.layers.Add()([y, x]))
    x = LookupConv2D(4, (3, 2), 3, strides=(2, 1), padding="same", name="conv2")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    model = settle(keras.Model(inputs, LookupDense(4, 3, name="logits")(x), name="residual"))
    for name, s in (("conv1", 1), ("conv2", 2), ("logits", 2)):
        layer = model.get_layer(name)
        layer.coefficients.assign(top_s(layer.coefficients, s))
    return model


TRAIN = ["conv1", "conv2", "logits"]


@pytest.fixture(scope="module")
def model():
    return residual()


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("learning") / "model.tflite"
    export.export(model, path, (IMAGES, LABELS), train=TRAIN)
    return path


@pytest.fixture
def run(path):
    """Signature by name -> its outputs, as an app in Java would run it."""
    interpreter = litert.interpreter.Interpreter(str(path))
    return lambda name, **inputs: interpreter.get_signature_runner(name)(**inputs)


class Reference:
    """The residual net in float64, its trained part as a function of one vector."""

    def __init__(self, model):
        self.layers = [model.get_layer(name) for name in TRAIN]
        self.masks = [numpy(x.coefficients) != 0 for x in self.layers]
        self.coefficients = [numpy(x.coefficients).astype(float) for x in self.layers]
        first = keras.Model(model.input, model.get_layer("conv1").input)
        self.x = numpy(first(IMAGES)).astype(float)
        norm = model.get_layer("norm")
        gamma, beta, mean, variance = (w.astype(float) for w in norm.get_weights())
        self.scale = gamma / np.sqrt(variance + norm.epsilon)
        self.offset = beta - mean * self.scale

    def start(self):
        parts = []
        for layer, mask in zip(self.layers, self.masks, strict=True):
            parts.append(numpy(layer.coefficients)[mask])
            parts += [numpy(layer.bias)] if layer.use_bias else []
        return np.concatenate(parts).astype(float)

    def weights(self, state):
        for layer, mask, p in zip(self.layers, self.masks, self.coefficients, strict=True):
            count = mask.sum()
            p[mask], state = state[:count], state[count:]
            bias = np.zeros(p.shape[-1])
            if layer.use_bias:
                bias, state = np.split(state, [len(bias)])
            yield numpy(layer.dictionary).astype(float), p, bias

    def logits(self, state):
        (d1, p1, _), (d2, p2, b2), (d3, p3, b3) = self.weights(state)
        y = lookup_conv(self.x, d1, *to_lookups(p1), (1, 1), "same", (1, 1))
        x = np.maximum(y * self.scale + self.offset + self.x, 0)
        x = lookup_conv(x, d2, *to_lookups(p2), (2, 1), "same", (1, 1)) + b2
        return np.maximum(x, 0).mean((1, 2)) @ d3 @ p3 + b3

    def loss(self, state):
        logits = self.logits(state)
        largest = logits.max(-1)
        sums = np.log(np.exp(logits - largest[:, None]).sum(-1)) + largest
        return (sums - logits[np.arange(len(LABELS)), LABELS]).mean()

    def gradient(self, state, step=1e-6):
        """By differences: no derivative of any layer is known here."""
        ways = step * np.eye(len(state))
        return np.array([(self.loss(state + w) - self.loss(state - w)) / (2 * step) for w in ways])


def test_steps_are_those_of_float64_and_move_the_non_zeros_alone(model, path):
    reference, learner = Reference(model), Learner(path)
    state = reference.start()
    assert learner.parameters == len(state)
    np.testing.assert_array_equal(learner.state, state.astype(np.float32))
    features = learner.features(IMAGES)
    # The feature maps of the shortcut, and S of the first layer.
    assert features.shape == (4, 6 * 6 * (5 + 4))
    for _ in range(2):
        assert learner.train(features, LABELS, 0.5) == pytest.approx(
            reference.loss(state), rel=2e-6
        )
        state = state - 0.5 * reference.gradient(state)
    way = np.abs(state - reference.start()).max()
    assert way > 0.05
    assert np.abs(learner.state - state).max() <= 1e-5 * way
    np.testing.assert_allclose(learner.infer(IMAGES), reference.logits(state), rtol=0, atol=1e-5)


def test_a_file_that_learns_still_runs_as_any_other(model, path):
    expected = numpy(model(IMAGES))
    np.testing.assert_allclose(Interpreter(path).predict(IMAGES), expected, rtol=0, atol=1e-5)


def test_batches_of_any_size_and_a_classifier_with_softmax(tmp_path):
    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = chain(
        (6, 6, 3), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(4, activation="softmax")
    )
    report = export.export(model, tmp_path / "model.tflite", IMAGES, train="classifier")
    assert report.learning.parameters == 64 * 4 + 4 and report.learning.features == 64
    model.layers[1].trainable = False
    learner = Learner(tmp_path / "model.tflite")
    features = learner.features(IMAGES)
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    for count in (1, 4, 2):
        loss = model.train_on_batch(IMAGES[:count], LABELS[:count])
        assert learner.train(features[:count], LABELS[:count], 0.1) == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(learner.infer(IMAGES), numpy(model(IMAGES)), rtol=0, atol=1e-5)


def test_new_classes_learn_and_old_ones_start_as_they_were(model, tmp_path):
    larger = add_classes(model, 2)
    np.testing.assert_array_equal(numpy(larger(IMAGES))[:, :4], numpy(model(IMAGES)))
    report = export.export(larger, tmp_path / "model.tflite", IMAGES, train="classifier")
    assert report.learning.parameters == 2 * 4 + 3 * 2 + 6
    learner, labels = Learner(tmp_path / "model.tflite"), LABELS + 2
    features = learner.features(IMAGES)
    losses = [learner.train(features, labels, 0.5) for _ in range(20)]
    assert losses[-1] < losses[0] and learner.classes == 6


@pytest.mark.parametrize(
    "wrong, error",
    [
        ({"labels": np.full(4, 4, np.int32)}, codes.NO_SUCH_CLASS),
        ({"labels": np.array([0, 0, 0, -1], np.int32)}, codes.NO_SUCH_CLASS),
        ({"rate": np.array([np.nan], np.float32)}, codes.NOT_FINITE),
        ({"rate": np.array([np.inf], np.float32)}, codes.NOT_FINITE),
        ({"rate": np.array([-0.1], np.float32)}, codes.NOT_FINITE),
        ({"features": np.full((4, 324), 3e38, np.float32)}, codes.NOT_FINITE),
        ({"features": np.full((4, 324), np.nan, np.float32)}, codes.NOT_FINITE),
    ],
)
def test_what_cannot_be_learned_is_told_and_changes_nothing(run, wrong, error):
    features = random((4, 324), 2)
    given = {
        "features": features,
        "labels": LABELS.astype(np.int32),
        "rate": np.array([0.1], np.float32),
    }
    assert run("train", **given)["error"] == codes.DONE
    before = run("save", unused=codes.UNUSED)["state"]
    assert run("train", **{**given, **wrong})["error"] == error
    np.testing.assert_array_equal(run("save", unused=codes.UNUSED)["state"], before)


def test_a_state_of_another_model_or_with_nan_is_refused(run):
    start = run("save", unused=codes.UNUSED)
    zeros = np.zeros_like(start["state"])
    assert run("restore", state=zeros, model=start["model"] + 1)["error"] == codes.OTHER_MODEL
    bad = np.where(np.arange(len(zeros)) == 3, np.nan, zeros).astype(np.float32)
    assert run("restore", state=bad, model=start["model"])["error"] == codes.NOT_FINITE
    np.testing.assert_array_equal(run("save", unused=codes.UNUSED)["state"], start["state"])
    assert run("restore", state=zeros, model=start["model"])["error"] == codes.DONE
    np.testing.assert_array_equal(run("save", unused=codes.UNUSED)["state"], zeros)
    assert run("reset", unused=codes.UNUSED)["error"] == codes.DONE
    np.testing.assert_array_equal(run("save", unused=codes.UNUSED)["state"], start["state"])


def test_the_stamp_is_of_the_weights_and_of_what_is_trained(model):
    stamps = [learning.stamp(learning.plan(model, train)) for train in (TRAIN, TRAIN[::-1])]
    np.testing.assert_array_equal(*stamps)
    others = [learning.plan(model, "classifier"), learning.plan(residual(), TRAIN)]
    bias = others[1].model.get_layer("conv2").bias
    bias.assign(bias + 1e-3)
    assert all((learning.stamp(other) != stamps[0]).all() for other in others)


@pytest.mark.parametrize("broken", ["gradient", "train"])
def test_a_file_that_learns_otherwise_is_rejected(tmp_path, monkeypatch, broken):
    right = getattr(learning._Module, broken)

    def wrong(self, *given):
        found = right(self, *given)
        return 1.001 * found if broken == "gradient" else {**found, "loss": 1.001 * found["loss"]}

    monkeypatch.setattr(learning._Module, broken, wrong)
    model = chain((4,), keras.layers.Dense(3))
    with pytest.raises(ProofError, match="does not learn what"):
        export.export(model, tmp_path / "model.tflite", random((5, 4)), train="classifier")
    assert [x.name for x in tmp_path.iterdir()] == ["model.rejected.tflite"]


def refused(model, message, **arguments):
    with pytest.raises(ValueError, match=message) as error:
        export.export(model, "never.tflite", IMAGES, **arguments)
    assert "\n" not in str(error.value)


def test_what_does_not_combine_is_refused(model):
    there = "conv1, conv2, logits"
    refused(model, "quantize='int8'", train=TRAIN, quantize="int8", calibration=IMAGES)
    refused(model, f"'conv9'.*is not there.*{there}", train=["conv9"])
    refused(model, f"'norm'.*neither lookups nor.*{there}", train=["conv1", "norm"])
    refused(model, f"'conv1'.*{there}", train="conv1")
    refused(model, there, train=[])
    refused(model, there, train=3)


def test_layers_without_a_gradient_are_refused():
    layers = keras.layers

    def conv(**arguments):
        return LookupConv2D(6, 3, 4, name="conv", **arguments)

    def net(*members):
        return chain((6, 6, 3), *members, layers.Flatten(), layers.Dense(5))

    pool = layers.MaxPooling2D(name="pool")
    refused(net(conv(), pool), r"pool \(MaxPooling2D\).*Conv2D", train=["conv"])
    wide = conv(dilation_rate=2, padding="same")
    refused(net(wide), "conv.*without groups or dilation", train=["conv"])
    refused(net(conv(activation="gelu")), "conv.*relu", train=["conv"])
    image = chain((6, 6, 3), conv())
    refused(image, "does not classify", train=["conv"])
    pooled = chain((6, 6, 3), conv(), layers.GlobalAveragePooling2D())
    refused(pooled, r"does not end in a Dense.*conv \(LookupConv2D\)", train="classifier")
    opened = chain((None, None, 3), conv(), layers.GlobalAveragePooling2D(), layers.Dense(5))
    refused(opened, "open sizes", train="classifier")
    relu = layers.ReLU()
    twice = chain((6, 6, 3), conv(), relu, layers.Flatten(), layers.Dense(6), relu, layers.Dense(5))
    refused(twice, "more than once", train="classifier")
