"""Layer families: what `lookupify`, `profile`, the planner and the exporter ask about a layer.

A family joins a Keras layer to the layer with lookups that replaces it. Whoever needs to know
something of a layer asks `of` (a layer with lookups), `replacing` (a Keras layer that could get
them) or `either`, and names no class. A new family is a subclass of Family, registered in the file
of its layers; how its layers are lowered for LiteRT is registered in a file of lite/.
"""

import dataclasses

import keras
import numpy as np

from tf_lcnn.graph.trace import sublayers
from tf_lcnn.layers import sparsity

# Why a depthwise convolution is kept.
DEPTHWISE = "depthwise: a filter reads one channel, so its weight vectors have one number"


@dataclasses.dataclass(frozen=True)
class Stages:
    """The sizes of what a layer computes for one image in one call.

    Attributes:
        dictionary_positions: of S; of all groups, where a layer has several.
        positions: where every filter is applied once: of the output, or, for a transposed
            convolution, of the input.
        taps, m, n: kernel positions, length of a weight vector, filters.
        fixed: multiplications beside those of the kernel, which lookups leave as they are: of the
            depthwise part of a separable convolution.
    """

    dictionary_positions: int
    positions: int
    taps: int
    m: int
    n: int
    fixed: int = 0

    @property
    def dense(self):
        """Multiplications of the Keras layer."""
        return self.positions * self.taps * self.m * self.n + self.fixed

    def dictionary(self, k):
        """Multiplications of the dictionary stage."""
        return self.dictionary_positions * self.m * k

    def lookup(self, lookups):
        """Multiplications of the lookup stage, given all non-zeros of P, and the fixed ones."""
        return self.positions * lookups + self.fixed


class Family:
    """One kind of Keras layer and the layer with lookups that replaces it.

    Attributes:
        replaces: class of the Keras layer.
        layer: class of the layer with lookups, a subclass of `replaces`. It takes the Keras
            layer's configuration and `dictionary_size`; None there makes it the Keras layer. It
            has `dictionary` (groups * m, k), the rows of each group in turn, `coefficients`
            (..., k, n), `sparse_coefficients()`, `threshold_scale` and, where it has one, `bias`.
        coefficients_are: the Keras layer's name for the kernel that lookups replace, in front of
            "_initializer", "_regularizer" and "_constraint".

    A method's `layer` is the Keras layer or the one with lookups, unless it says which. m is the
    length of a weight vector: with groups that of one group.
    """

    replaces = None
    layer = None
    coefficients_are = "kernel"

    def weight_vectors(self, layer):
        """How many vectors of length m one dictionary replaces: n * taps, of one group."""
        raise NotImplementedError

    def groups(self, layer):
        """How many groups of channels have a dictionary and n / groups filters of their own."""
        return 1

    def stages(self, layer, call, convention="unpadded"):
        """The Stages of a traced call (`graph.trace.Call`); for "padded" see `costs.counting`."""
        raise NotImplementedError

    def patches(self, layer, inputs, places):
        """What weight vectors are multiplied with, in the order of `kernel`.

        Args:
            layer: of this family.
            inputs: array (images, ...), what the layer is called on.
            places: see `graph.padding.patches`.

        Returns:
            array (images * chosen, taps * m): its product with the kernel as (taps * m, n) is the
            layer's output at these positions, without bias and activation. With groups it is
            (images * chosen, groups * taps * m), group by group, and so are the products.
        """
        raise NotImplementedError

    def obstacle(self, layer, dictionary_size):
        """Why this Keras layer cannot get a dictionary of this size; empty if it can."""
        if changed(layer):
            return changed(layer)
        vectors = self.weight_vectors(layer)
        if dictionary_size >= vectors:
            return (
                f"dictionary_size {dictionary_size} is not smaller than its {vectors} weight "
                "vectors"
            )
        return ""

    def build(self, layer, dictionary_size, coded=False, **arguments):
        """A layer with lookups, not built, in place of this Keras layer.

        Args:
            layer: the Keras layer.
            dictionary_size: k.
            coded: whether the weights will be set. A threshold is a multiple of what an
                initializer draws; for one that draws nothing known "glorot_uniform" is taken.
            **arguments: of the layer with lookups; `kernel_initializer` and the like are those of
                its coefficients, whatever its Keras layer calls them.
        """
        mine, initializer = {}, f"{self.coefficients_are}_initializer"
        for name, value in arguments.items():
            first, _, last = name.partition("_")
            mine[f"{self.coefficients_are}_{last}" if first == "kernel" else name] = value
        if coded and not sparsity.has_sigma(getattr(layer, initializer)):
            mine.setdefault(initializer, "glorot_uniform")
        config = {**layer.get_config(), "dictionary_size": dictionary_size, **mine}
        # An option of Dense's own quantization, off for a layer that is converted.
        config.pop("quantization_config", None)
        return self.layer.from_config(config)

    def carry_over(self, layer, copy):
        """Gives the built copy with lookups the weights that are no kernel: the bias."""
        if layer.use_bias:
            copy.bias.assign(layer.bias)

    def kernel_variable(self, layer):
        """The weights of a Keras layer that lookups replace, as Keras stores them."""
        return layer.kernel

    def kernel(self, layer):
        """The weights that lookups replace, as float64 (taps, m, n), of all groups in turn."""
        kernel = np.asarray(keras.ops.convert_to_numpy(self.kernel_variable(layer)), np.float64)
        return kernel.reshape(-1, *kernel.shape[-2:])

    def set_kernel(self, layer, kernel):
        """Sets the kernel of a Keras layer, given as (taps, m, n)."""
        variable = self.kernel_variable(layer)
        variable.assign(kernel.reshape(variable.shape).astype(np.float32))

    def set_lookups(self, copy, dictionary, coefficients):
        """Sets D (groups * m, k) and P (taps, k, n) of a layer with lookups."""
        copy.dictionary.assign(np.asarray(dictionary, np.float32))
        shaped = np.asarray(coefficients, np.float32).reshape(copy.coefficients.shape)
        copy.coefficients.assign(shaped)

    def fixed_weights(self, layer):
        """The weights beside kernel (or D and P) and bias, that lookups leave as they are."""
        return []


def changed(layer):
    """Why a Keras layer's kernel is not what it computes with; empty if it is."""
    if getattr(layer, "lora_enabled", False):
        return "LoRA is enabled"
    if getattr(layer, "quantization_mode", None) is not None:
        return f"it is quantized to {layer.quantization_mode}"
    return ""


_FAMILIES = []


def register(family):
    """Adds a Family, which is asked before earlier ones: its layer may be a subclass of theirs."""
    _FAMILIES.insert(0, family)


def of_class(layer):
    """The Family of a layer by its class, with a dictionary or without; None for any other."""
    for family in _FAMILIES:
        if isinstance(layer, family.layer):
            return family
    return None


def of(layer):
    """The Family of a layer with lookups; None for any other layer."""
    family = of_class(layer)
    return None if family is None or layer.dictionary_size is None else family


def replacing(layer):
    """The Family whose layers replace this Keras layer; None if none does."""
    for family in _FAMILIES:
        if type(layer) is family.replaces:
            return family
    return None


def either(layer):
    """The Family of a layer with lookups, or of a Keras layer that could get them, or None."""
    return of(layer) or replacing(layer)


def plain_type(layer):
    """The class of a layer; of a lookup layer without a dictionary the Keras layer that it is."""
    for family in _FAMILIES:
        if type(layer) is family.layer and layer.dictionary_size is None:
            return family.replaces
    return type(layer)


def obstacle(layer, dictionary_size):
    """Why a layer cannot get a dictionary of this size; empty if it can."""
    family = replacing(layer)
    if family is not None:
        return family.obstacle(layer, dictionary_size)
    if any(type(layer) is family.layer for family in _FAMILIES):
        return "a lookup layer already"
    name = type(layer).__name__
    if type(layer).__module__.split(".")[0] != "keras":
        return "a custom layer"
    if isinstance(layer, keras.layers.Lambda):
        return "a Lambda layer: what its function computes is not known"
    if name.startswith("Depthwise"):
        return DEPTHWISE
    return "no lookup form"


def lookup_layers(model):
    """The layers of a model, at any depth, that have a dictionary."""
    return [layer for layer in sublayers(model) if of(layer) is not None]
