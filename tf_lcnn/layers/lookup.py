"""LookupConv2D and LookupDense: a Keras layer plus a dictionary.

The weights of Conv2D and Dense are replaced by a dictionary D of k vectors and sparse
coefficients P, with W = D.delta(P) (equation 1 of the LCNN paper, arXiv 1611.06473).
"""

import dataclasses
import math
import warnings
import weakref

import keras
import numpy as np
from keras import ops

from tf_lcnn.graph import padding
from tf_lcnn.layers import family, sparsity


@dataclasses.dataclass(frozen=True)
class _Sharing:
    """Keeps Keras from tracking the owner of a shared dictionary as a layer inside."""

    owner: object


FORWARD_PATHS = ("auto", "stages", "folded")

# The batch that "auto" reckons with where the model's batch is not known: the paper's.
NOMINAL_BATCH = 128

# id of a dictionary -> the layer that made it.
_OWNERS = weakref.WeakValueDictionary()

_ARGUMENTS = """
    `kernel_initializer`, `kernel_regularizer` and `kernel_constraint` go to the coefficients P,
    which are the kernel of the lookup stage. The arguments of its own:

    Args:
        dictionary_size: k, the number of vectors in the dictionary; None makes this the plain
            Keras layer.
        dictionary: the `dictionary` of another lookup layer, to be shared with it: one variable,
            trained, saved and counted once. k is that layer's, and so is whether the dictionary
            is trained: `trainable = False` here leaves it to that layer.
        dictionary_initializer, dictionary_regularizer, dictionary_constraint: for D.
        threshold_scale: c >= 0 in eps = c * sigma, sigma being the standard deviation of
            `kernel_initializer` (the paper: 0.01 for AlexNet, 0.001 for ResNet). 0 switches the
            threshold off.
        threshold_gradient: "masked" or "straight_through", see `sparsity.threshold`.
        forward: how the forward pass runs: "stages" (S = X.D, then a convolution of S with P),
            "folded" (W = D.P, then the dense layer), or "auto", the one with fewer
            multiplications for the shape at hand. Both give the same numbers.

    Attributes:
        dictionary: variable D, (m, k).
        coefficients: variable P, {shape}; read it through `sparse_coefficients()`.
        sigma, epsilon: floats, known once the layer is built.

    Raises:
        ValueError: at construction, for a dictionary_size that is not smaller than the number
            of weight vectors it replaces ({vectors}), a negative threshold_scale, or an unknown
            value of threshold_gradient or forward; or a dictionary that no lookup layer holds,
            or of another size. When it is built, if the shared dictionary has other channels.
"""


class _Lookup:
    """What the two layers share; comes before the Keras layer among their bases."""

    # See `graph.folding`.
    is_linear = True

    def _set_lookup_arguments(
        self,
        weight_vectors,
        dictionary_size,
        dictionary,
        dictionary_initializer,
        dictionary_regularizer,
        dictionary_constraint,
        threshold_scale,
        threshold_gradient,
        forward,
    ):
        self._sharing = _Sharing(None if dictionary is None else self._owner(dictionary))
        if dictionary is not None:
            shared = self.dictionary_owner.dictionary_size
            if dictionary_size not in (None, shared):
                raise ValueError(
                    f"Layer {self.name}: dictionary_size={dictionary_size}, but the dictionary of "
                    f"{self.dictionary_owner.name} that it shares has {shared} rows."
                )
            dictionary_size = shared
        whole = isinstance(dictionary_size, int) and not isinstance(dictionary_size, bool)
        if dictionary_size is not None and not (whole and 1 <= dictionary_size < weight_vectors):
            raise ValueError(
                f"Layer {self.name}: dictionary_size={dictionary_size!r} must be a whole number "
                f"from 1 to {weight_vectors - 1}, smaller than its {weight_vectors} weight "
                "vectors, or None for the plain layer."
            )
        sparsity.check_epsilon(threshold_scale, f"Layer {self.name}: threshold_scale")
        sparsity.check_gradient(threshold_gradient)
        if self.lora_rank and dictionary_size is not None:
            raise ValueError(f"Layer {self.name}: LoRA needs a kernel; a lookup layer has none.")
        if forward not in FORWARD_PATHS:
            raise ValueError(
                f"Layer {self.name}: unknown forward={forward!r}: {', '.join(FORWARD_PATHS)}."
            )
        self.dictionary_size = dictionary_size
        self.dictionary_initializer = keras.initializers.get(dictionary_initializer)
        self.dictionary_regularizer = keras.regularizers.get(dictionary_regularizer)
        self.dictionary_constraint = keras.constraints.get(dictionary_constraint)
        self.threshold_scale = float(threshold_scale)
        self.threshold_gradient = threshold_gradient
        self.forward = forward
        self.sigma = None
        self.epsilon = None
        self.dictionary = None

    def _owner(self, dictionary):
        """The layer that holds a shared dictionary, given that or, when loading, the layer."""
        owner = dictionary if isinstance(dictionary, _Lookup) else _OWNERS.get(id(dictionary))
        if owner is None or owner.dictionary_size is None:
            raise ValueError(
                f"Layer {self.name}: the dictionary it was given is not the dictionary of a lookup "
                "layer; pass other.dictionary, of a layer that is built."
            )
        # A dictionary that is shared already has one owner still.
        return owner.dictionary_owner or owner

    @property
    def dictionary_owner(self):
        """The layer whose dictionary this one shares; None for a dictionary of its own."""
        return self._sharing.owner

    @property
    def trainable(self):
        """Whether it is trained; a shared dictionary is frozen with the layer that made it."""
        return super().trainable

    @trainable.setter
    def trainable(self, value):
        shared = self.dictionary if self.dictionary_owner and self.built else None
        before = shared is not None and shared.trainable
        keras.Layer.trainable.fset(self, value)
        if shared is not None:
            shared.trainable = before

    def copied(self, copy_of, **changes):
        """A copy for `graph.rebuild`, which shares its dictionary with the copy of the owner."""
        if self.dictionary_owner is not None:
            changes["dictionary"] = _Sharing(copy_of(self.dictionary_owner))
        return type(self).from_config({**self.get_config(), **changes})

    def _make_dictionary(self, channels):
        # Once: a layer that shares it may be built first.
        if self.dictionary is None:
            self.dictionary = self.add_weight(
                name="dictionary",
                shape=(channels, self.dictionary_size),
                initializer=self.dictionary_initializer,
                regularizer=self.dictionary_regularizer,
                constraint=self.dictionary_constraint,
                autocast=False,
            )
            _OWNERS[id(self.dictionary)] = self
        return self.dictionary

    def _shared_dictionary(self, channels):
        owner = self.dictionary_owner
        dictionary = owner._make_dictionary(channels)
        if dictionary.shape[0] != channels:
            raise ValueError(
                f"Layer {self.name} has {channels} input channels, the dictionary of {owner.name} "
                f"that it shares {dictionary.shape[0]}."
            )
        return dictionary

    def _build_lookup(self, channels, coefficients_shape):
        shape = coefficients_shape
        self.sigma = (
            sparsity.initializer_sigma(self.kernel_initializer, shape)
            if self.threshold_scale
            else 0.0
        )
        self.epsilon = self.threshold_scale * self.sigma
        regularizer = self.kernel_regularizer
        if isinstance(regularizer, sparsity.LookupL1):
            regularizer = regularizer.with_epsilon(self.epsilon)
        # Without autocast the threshold decides on the stored values, under mixed precision too.
        if self.dictionary_owner is not None:
            self.dictionary = self._shared_dictionary(channels)
        else:
            self._make_dictionary(channels)
        self.coefficients = self.add_weight(
            name="coefficients",
            shape=shape,
            initializer=self.kernel_initializer,
            regularizer=regularizer,
            constraint=self.kernel_constraint,
            autocast=False,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=shape[-1:],
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self.built = True

    @property
    def kernel(self):
        """W = D.delta(P), the kernel of the dense layer that this layer equals."""
        if self.dictionary_size is None:
            return super().kernel
        if not self.built:
            raise AttributeError(f"Layer {self.name} has no kernel before it is built.")
        return sparsity.to_kernel(self.dictionary, self.sparse_coefficients())

    def sparse_coefficients(self):
        """delta(P): what the forward pass, saving and counting all see."""
        return sparsity.threshold(self.coefficients, self.epsilon, self.threshold_gradient)

    def lookups(self):
        """The exact (I, C) of delta(P), as arrays; see `sparsity.to_lookups`."""
        return sparsity.to_lookups(ops.convert_to_numpy(self.sparse_coefficients()))

    def forward_path(self, input_shape):
        """ "stages" or "folded": what the forward pass runs for inputs of this shape.

        The product W = D.P is paid once per batch; where the batch is unknown, a batch of
        `NOMINAL_BATCH` is assumed.
        """
        if self.forward != "auto":
            return self.forward
        dictionary_positions, positions = self.stage_positions(input_shape)
        m, k = self.dictionary.shape
        n = self.coefficients.shape[-1]
        taps = math.prod(self.coefficients.shape[:-2])
        batch = input_shape[0] or NOMINAL_BATCH
        stages = batch * (dictionary_positions * m * k + positions * taps * k * n)
        folded = batch * positions * taps * m * n
        if None not in input_shape[1:]:
            # A map of unknown size is taken for one so large that the product does not count.
            folded += taps * m * k * n
        return "stages" if stages <= folded else "folded"

    def _cast_weights(self):
        dtype = self.compute_dtype
        return ops.cast(self.dictionary, dtype), ops.cast(self.sparse_coefficients(), dtype)

    def _lookup_variables(self):
        """What the layer saves; a shared dictionary is its owner's."""
        own = self.dictionary if self.dictionary_owner is None else None
        return [v for v in (own, self.coefficients, self.bias) if v is not None]

    def save_own_variables(self, store):
        if self.dictionary_size is None or not self.built:
            super().save_own_variables(store)
            return
        for i, variable in enumerate(self._lookup_variables()):
            sparse = variable is self.coefficients
            store[str(i)] = self.sparse_coefficients() if sparse else variable

    def load_own_variables(self, store):
        if self.dictionary_size is None or not self.built:
            super().load_own_variables(store)
            return
        variables = self._lookup_variables()
        if len(store.keys()) != len(variables):
            raise ValueError(
                f"Layer {self.name} has {len(variables)} variables (dictionary, coefficients, "
                f"bias), the weights file {len(store.keys())}."
            )
        for i, variable in enumerate(variables):
            variable.assign(store[str(i)])

    def enable_lora(self, *args, **kwargs):
        if self.dictionary_size is not None:
            raise ValueError(f"Layer {self.name}: LoRA needs a kernel; a lookup layer has none.")
        super().enable_lora(*args, **kwargs)

    def quantize(self, *args, **kwargs):
        if self.dictionary_size is not None:
            raise ValueError(
                f"Layer {self.name}: Keras cannot quantize a lookup layer; the converter can."
            )
        super().quantize(*args, **kwargs)

    def get_config(self):
        config = super().get_config()
        if self.dictionary_owner is not None:
            # As it is: where a model is saved, Keras tells which of the model's layers it is.
            config["dictionary"] = self.dictionary_owner
        config.update(
            {
                "dictionary_size": self.dictionary_size,
                "dictionary_initializer": keras.initializers.serialize(self.dictionary_initializer),
                "dictionary_regularizer": keras.regularizers.serialize(self.dictionary_regularizer),
                "dictionary_constraint": keras.constraints.serialize(self.dictionary_constraint),
                "threshold_scale": self.threshold_scale,
                "threshold_gradient": self.threshold_gradient,
                "forward": self.forward,
            }
        )
        return config

    @classmethod
    def from_config(cls, config):
        shared = config.get("dictionary")
        if isinstance(shared, dict):
            shared = keras.saving.deserialize_keras_object(shared)
        elif isinstance(shared, _Sharing):
            shared = shared.owner
        elif shared is not None:
            shared = None
            warnings.warn(
                f"The copy of layer {config['name']} has a dictionary of its own: Keras copies "
                "layers one by one; tf_lcnn.graph.rebuild.clone keeps what they share.",
                stacklevel=2,
            )
        return super().from_config({**config, "dictionary": shared})


@keras.saving.register_keras_serializable(package="tf_lcnn")
class LookupConv2D(_Lookup, keras.layers.Conv2D):
    __doc__ = """Conv2D by a dictionary and lookups; takes every argument of `keras.layers.Conv2D`.

    A 1x1 layer with a stride takes the stride in the dictionary stage: S is needed only where
    it is read. `groups` must be 1 unless dictionary_size is None.
""" + _ARGUMENTS.format(shape="(kh, kw, k, n)", vectors="n*kh*kw")

    def __init__(
        self,
        filters,
        kernel_size,
        dictionary_size=None,
        strides=(1, 1),
        padding="valid",
        data_format=None,
        dilation_rate=(1, 1),
        groups=1,
        activation=None,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        dictionary=None,
        dictionary_initializer="glorot_uniform",
        dictionary_regularizer=None,
        dictionary_constraint=None,
        threshold_scale=0.001,
        threshold_gradient="masked",
        forward="auto",
        **kwargs,
    ):
        super().__init__(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            groups=groups,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        if groups != 1 and dictionary_size is not None:
            raise ValueError(
                f"Layer {self.name}: groups={groups}, but a lookup layer needs groups=1; "
                "dictionary_size=None keeps the grouped convolution."
            )
        self._set_lookup_arguments(
            filters * math.prod(self.kernel_size),
            dictionary_size,
            dictionary,
            dictionary_initializer,
            dictionary_regularizer,
            dictionary_constraint,
            threshold_scale,
            threshold_gradient,
            forward,
        )

    def build(self, input_shape):
        if self.dictionary_size is None:
            super().build(input_shape)
            return
        axis = -1 if self.data_format == "channels_last" else 1
        channels = input_shape[axis]
        self.input_spec = keras.layers.InputSpec(min_ndim=4, axes={axis: channels})
        # Refuses, as Conv2D does, a map too small for the kernel.
        self.compute_output_shape(input_shape)
        self._build_lookup(channels, (*self.kernel_size, self.dictionary_size, self.filters))

    def stage_positions(self, input_shape):
        """Where S and the output are computed: two numbers of positions, for one image.

        Of an input whose size is not known both are per output position.
        """
        axes = slice(1, 3) if self.data_format == "channels_last" else slice(2, 4)
        size, out = input_shape[axes], self.compute_output_shape(input_shape)[axes]
        # With a size unknown only the ratio counts: S at stride x stride points per output.
        if None in size:
            size, out = self.strides, (1, 1)
        if self.kernel_size == (1, 1):
            size = out
        return math.prod(size), math.prod(out)

    def call(self, inputs):
        if self.dictionary_size is None:
            return super().call(inputs)
        dictionary, coefficients = self._cast_weights()
        if self.forward_path(inputs.shape) == "folded":
            outputs = self.convolution_op(inputs, sparsity.to_kernel(dictionary, coefficients))
        else:
            one_by_one = self.kernel_size == (1, 1)
            looked_up = ops.conv(
                inputs,
                dictionary[None, None],
                strides=list(self.strides) if one_by_one else 1,
                data_format=self.data_format,
            )
            outputs = ops.conv(
                looked_up,
                coefficients,
                strides=1 if one_by_one else list(self.strides),
                padding=self.padding,
                dilation_rate=self.dilation_rate,
                data_format=self.data_format,
            )
        if self.use_bias:
            last = self.data_format == "channels_last"
            outputs = outputs + (self.bias if last else ops.reshape(self.bias, (1, -1, 1, 1)))
        return outputs if self.activation is None else self.activation(outputs)


@keras.saving.register_keras_serializable(package="tf_lcnn")
class LookupDense(_Lookup, keras.layers.Dense):
    __doc__ = """Dense by a dictionary and lookups; takes every argument of `keras.layers.Dense`.

    The 1x1 case of `LookupConv2D`, on the last axis of an input of any rank >= 2.
""" + _ARGUMENTS.format(shape="(k, n)", vectors="n")

    def __init__(
        self,
        units,
        dictionary_size=None,
        activation=None,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        dictionary=None,
        dictionary_initializer="glorot_uniform",
        dictionary_regularizer=None,
        dictionary_constraint=None,
        threshold_scale=0.001,
        threshold_gradient="masked",
        forward="auto",
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        self._set_lookup_arguments(
            units,
            dictionary_size,
            dictionary,
            dictionary_initializer,
            dictionary_regularizer,
            dictionary_constraint,
            threshold_scale,
            threshold_gradient,
            forward,
        )

    def build(self, input_shape):
        if self.dictionary_size is None:
            super().build(input_shape)
            return
        channels = input_shape[-1]
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: channels})
        self._build_lookup(channels, (self.dictionary_size, self.units))

    def stage_positions(self, input_shape):
        """Where S and the output are computed: two numbers of positions, for one example."""
        positions = math.prod(size or 1 for size in input_shape[1:-1])
        return positions, positions

    def call(self, inputs, training=None):
        if self.dictionary_size is None:
            return super().call(inputs, training=training)
        dictionary, coefficients = self._cast_weights()
        if self.forward_path(inputs.shape) == "folded":
            outputs = ops.matmul(inputs, sparsity.to_kernel(dictionary, coefficients))
        else:
            outputs = ops.matmul(ops.matmul(inputs, dictionary), coefficients)
        if self.use_bias:
            outputs = outputs + self.bias
        return outputs if self.activation is None else self.activation(outputs)


class ConvolutionFamily(family.Family):
    """A convolution of any rank, without groups."""

    def __init__(self, replaces, layer):
        self.replaces = replaces
        self.layer = layer

    def weight_vectors(self, layer):
        return layer.filters * math.prod(layer.kernel_size)

    def obstacle(self, layer, dictionary_size):
        if layer.groups != 1:
            return f"{layer.groups} groups"
        return super().obstacle(layer, dictionary_size)

    def stages(self, layer, call, convention="unpadded"):
        first = layer.data_format == "channels_first"
        inner = slice(1, None) if first else slice(None, -1)
        positions = math.prod(call.output_shape[inner])
        taps = math.prod(layer.kernel_size)
        if taps == 1:
            seen = positions
        elif convention == "unpadded":
            seen = math.prod(call.unpadded_shape[inner])
        else:
            sizes = call.input_shape[inner]
            if layer.padding == "same":
                reach = zip(sizes, layer.kernel_size, layer.dilation_rate, strict=True)
                sizes = [size + 2 * (kernel // 2) * dilation for size, kernel, dilation in reach]
            seen = math.prod(sizes)
        m = call.input_shape[0 if first else -1]
        return family.Stages(seen, positions, taps, m, layer.filters)

    def patches(self, layer, inputs, places):
        if layer.data_format == "channels_first":
            inputs = np.moveaxis(inputs, 1, -1)
        sizes = (layer.kernel_size, layer.strides, layer.dilation_rate)
        return padding.patches(inputs, *sizes, layer.padding, places)


class DenseFamily(family.Family):
    """A dense layer: one tap, on the last axis of its input."""

    replaces = keras.layers.Dense
    layer = LookupDense

    def weight_vectors(self, layer):
        return layer.units

    def stages(self, layer, call, convention="unpadded"):
        positions = math.prod(call.output_shape[:-1])
        return family.Stages(positions, positions, 1, call.input_shape[-1], layer.units)

    def patches(self, layer, inputs, places):
        rows = inputs.reshape(len(inputs), -1, inputs.shape[-1])
        chosen = places(rows.shape[1])
        return rows[np.arange(len(rows))[:, None], chosen].reshape(-1, rows.shape[-1])


family.register(ConvolutionFamily(keras.layers.Conv2D, LookupConv2D))
family.register(DenseFamily())
