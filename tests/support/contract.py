"""What every layer with lookups does: `run` takes each family through all of it.

A Case says what is a family's own: its two classes, arguments, an input, and a reference in
float64 that is written without the library.
"""

import dataclasses
import inspect
import warnings

import keras
import numpy as np

from support import reference
from support.helpers import numpy, random
from tf_lcnn import LookupL1
from tf_lcnn.layers import family
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.training.callbacks import project

OWN = (
    "dictionary_size",
    "dictionary",
    "dictionary_initializer",
    "dictionary_regularizer",
    "dictionary_constraint",
    "threshold_scale",
    "threshold_gradient",
    "forward",
)
# LoRA and Keras's own quantization need a kernel; the plain layer takes them by **kwargs.
PASSED_ON = ("lora_rank", "lora_alpha", "quantization_config")

HALF_ULP = 2.0**-24


@dataclasses.dataclass(frozen=True)
class Case:
    """A family, and one layer of it.

    Attributes:
        ours, theirs: the layer with lookups and the Keras layer.
        arguments: of the Keras layer, for the layer under test.
        k: its dictionary_size.
        shape: of an input, with the batch.
        expected: function (layer, x, D, I, C, fixed) -> its output in float64, without bias;
            `fixed` are the weights beside D, P and bias.
        prefix: Keras's name for the kernel that lookups replace.
    """

    ours: type
    theirs: type
    arguments: dict
    k: int
    shape: tuple
    expected: callable
    prefix: str = "kernel"

    def __str__(self):
        return f"{self.ours.__name__}-" + "-".join(str(x) for x in self.arguments.values())

    def layer(self, **arguments):
        """The built layer."""
        given = {"dictionary_size": self.k, **self.arguments, **arguments}
        layer = self.ours(**given)
        layer.build(self.shape)
        return layer

    def plain(self, **arguments):
        layer = self.theirs(**self.arguments, **arguments)
        layer.build(self.shape)
        return layer

    def model(self, layer):
        return keras.Sequential([keras.Input(self.shape[1:]), layer])

    def inputs(self, seed=0):
        return random(self.shape, seed)


def run(case, folder):
    """Takes the layer of a Case through the contract. `folder` is empty, for files."""
    constructor_takes_what_keras_takes(case)
    without_dictionary_it_is_the_keras_layer(case)
    shapes_are_the_same_symbolic_and_eager(case)
    outputs_equal_the_reference(case)
    it_equals_the_keras_layer_of_its_kernel(case)
    patches_times_kernel_are_the_outputs(case)
    fitting_lowers_the_loss_and_holds_the_lookups(case)
    mixed_precision_thresholds_the_stored_values(case)
    saved_and_loaded_it_is_the_same(case, folder)
    config_makes_the_same_layer(case)
    channels_first_equals_channels_last(case)


def sparsify(layer, density=0.5, seed=1):
    """Gives P zeros at random places."""
    p = numpy(layer.coefficients)
    drawn = random(p.shape, seed) * (np.random.default_rng(seed).random(p.shape) < density)
    layer.coefficients.assign(drawn)
    return drawn


def constructor_takes_what_keras_takes(case):
    def named(cls, without):
        found = inspect.signature(cls.__init__).parameters.items()
        return [(name, p.default) for name, p in found if name not in without]

    assert named(case.ours, OWN) == named(case.theirs, PASSED_ON)
    assert set(OWN) <= set(inspect.signature(case.ours.__init__).parameters)


def without_dictionary_it_is_the_keras_layer(case):
    plain = case.plain(activation="relu", bias_initializer="normal")
    layer = case.layer(dictionary_size=None, activation="relu")
    assert [w.shape for w in layer.weights] == [w.shape for w in plain.weights]
    layer.set_weights(plain.get_weights())
    x = case.inputs()
    np.testing.assert_array_equal(numpy(layer(x)), numpy(plain(x)))
    name = f"{case.prefix}_kernel" if case.prefix != "kernel" else "kernel"
    np.testing.assert_array_equal(numpy(getattr(layer, name)), numpy(getattr(plain, name)))
    assert lookup_layers(case.model(layer)) == []


def shapes_are_the_same_symbolic_and_eager(case):
    layer, plain, x = case.layer(), case.plain(), case.inputs()
    out = tuple(layer(x).shape)
    assert out == tuple(plain(x).shape) == tuple(layer.compute_output_shape(x.shape))
    assert tuple(layer(keras.KerasTensor(x.shape)).shape) == out
    free = (None, *(None,) * (len(x.shape) - 2), x.shape[-1])
    if len(free) > 2:
        # Sizes may be unknown.
        assert layer(keras.KerasTensor(free)).shape[-1] == out[-1]


def outputs_equal_the_reference(case):
    x = case.inputs()
    for forward in ("stages", "folded"):
        layer = case.layer(forward=forward, threshold_scale=0, bias_initializer="normal")
        indices, values = reference.lookups(sparsify(layer))
        bias, dictionary = numpy(layer.bias), numpy(layer.dictionary)
        fixed = list(map(numpy, family.of(layer).fixed_weights(layer)))
        weights = (dictionary, indices, values, fixed)
        expected = case.expected(layer, x, *weights) + bias
        weights = (np.abs(dictionary), indices, np.abs(values), list(map(np.abs, fixed)))
        size = case.expected(layer, np.abs(x), *weights) + np.abs(bias)
        # What float32 roundings of all terms of an output can add up to.
        terms = dictionary.shape[0] + case.k + indices.size / len(bias) + 40
        found = numpy(layer(x))
        assert found.shape == expected.shape
        assert np.all(np.abs(found - expected) <= 2 * HALF_ULP * terms * size)
        active = case.layer(forward=forward, threshold_scale=0, activation="relu")
        active.set_weights(layer.get_weights())
        np.testing.assert_array_equal(numpy(active(x)), np.maximum(found, 0))


def it_equals_the_keras_layer_of_its_kernel(case):
    layer, plain, x = case.layer(threshold_scale=0.5), case.plain(), case.inputs()
    kind = family.of(layer)
    kind.set_kernel(plain, kind.kernel(layer))
    fixed = kind.fixed_weights(layer)
    for theirs, ours in zip(kind.fixed_weights(plain), fixed, strict=True):
        theirs.assign(ours)
    expected = numpy(plain(x))
    np.testing.assert_allclose(
        numpy(layer(x)), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


def patches_times_kernel_are_the_outputs(case):
    """What coding goes by: `Family.patches` and `Family.kernel`, at some of the positions."""
    x, rng = case.inputs(), np.random.default_rng(0)
    for layer in (case.layer(), case.plain()):
        kind, chosen = family.either(layer), []

        def places(positions, chosen=chosen):
            count = min(5, positions)
            chosen.append(np.stack([rng.permutation(positions)[:count] for _ in x]))
            return chosen[0]

        rows, kernel, groups = (
            kind.patches(layer, x, places),
            kind.kernel(layer),
            kind.groups(layer),
        )
        n = kernel.shape[-1]
        by_group = rows.reshape(len(rows), groups, -1)
        flat = kernel.reshape(-1, groups, n // groups)
        found = np.einsum("rgi,igj->rgj", by_group, flat).reshape(-1, n)
        outputs = numpy(layer(x)).reshape(len(x), -1, n)
        expected = outputs[np.arange(len(x))[:, None], chosen[0]].reshape(-1, n)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(outputs).max())


def fitting_lowers_the_loss_and_holds_the_lookups(case):
    keras.utils.set_random_seed(0)
    layer = case.layer(threshold_scale=1e-6)
    model = case.model(layer)
    project(model, 1)
    zeros = numpy(layer.sparse_coefficients()) == 0
    assert zeros.any()
    x = case.inputs()
    y = 0.1 * random(tuple(layer(x).shape), 2)
    model.compile(keras.optimizers.Adam(0.02), "mse")
    losses = model.fit(x, y, epochs=6, batch_size=len(x), verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert np.all(numpy(layer.sparse_coefficients())[zeros] == 0)
    assert layer.holds_lookups


def mixed_precision_thresholds_the_stored_values(case):
    x = case.inputs()
    for name, unit in (("float16", 2.0**-10), ("bfloat16", 2.0**-7)):
        for forward in ("stages", "folded"):
            arguments = {"threshold_scale": 1.0, "forward": forward}
            exact, layer = case.layer(**arguments), case.layer(dtype=f"mixed_{name}", **arguments)
            layer.set_weights(exact.get_weights())
            found, expected = layer(x), numpy(exact(x))
            assert keras.backend.standardize_dtype(found.dtype) == name
            assert keras.backend.standardize_dtype(layer.coefficients.dtype) == "float32"
            scale = 8 * unit * max(np.abs(expected).max(), 1)
            np.testing.assert_allclose(
                numpy(found).astype(np.float32), expected, rtol=0, atol=scale
            )


def saved_and_loaded_it_is_the_same(case, folder):
    layer, x = case.layer(threshold_scale=1.0, bias_initializer="normal"), case.inputs()
    model = case.model(layer)
    # In mid-training the stored values inside the threshold are anything but zero.
    assert np.all(numpy(layer.coefficients) != 0)
    model.save(folder / "model.keras")
    loaded = keras.models.load_model(folder / "model.keras")
    np.testing.assert_array_equal(numpy(loaded(x)), numpy(model(x)))
    (again,) = lookup_layers(loaded)
    assert type(again) is case.ours and again.epsilon == layer.epsilon
    np.testing.assert_array_equal(numpy(again.coefficients), numpy(layer.sparse_coefficients()))
    other = case.model(case.layer(threshold_scale=1.0))
    model.save_weights(folder / "only.weights.h5")
    other.load_weights(folder / "only.weights.h5")
    np.testing.assert_array_equal(numpy(other(x)), numpy(model(x)))


def config_makes_the_same_layer(case):
    changes = {
        f"{case.prefix}_regularizer": LookupL1(0.3),
        "dictionary_constraint": keras.constraints.UnitNorm(),
        "threshold_scale": 0.5,
        "threshold_gradient": "straight_through",
        "forward": "folded",
    }
    made = case.ours.from_config({**case.layer().get_config(), **changes})
    again = case.ours.from_config(made.get_config())
    assert again.get_config() == made.get_config()
    assert getattr(again, f"{case.prefix}_regularizer").strength == 0.3
    # All that Keras's layer is configured by, and our own.
    assert set(case.theirs(**case.arguments).get_config()) - set(PASSED_ON) <= set(
        again.get_config()
    )


def channels_first_equals_channels_last(case):
    if "data_format" not in inspect.signature(case.ours.__init__).parameters:
        return
    if keras.backend.backend() == "tensorflow":
        # It has no such convolutions on a CPU.
        return
    for forward in ("stages", "folded"):
        last = case.layer(forward=forward, bias_initializer="normal")
        arguments = {**case.arguments, "dictionary_size": case.k, "forward": forward}
        first = case.ours(**arguments, data_format="channels_first")
        x = np.moveaxis(case.inputs(), -1, 1)
        first.build(x.shape)
        first.set_weights(last.get_weights())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found, expected = np.moveaxis(numpy(first(x)), 1, -1), numpy(last(case.inputs()))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
