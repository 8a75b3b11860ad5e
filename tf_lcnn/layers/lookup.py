"""What all layers with lookups share: a Keras layer plus a dictionary.

The kernel of a Keras layer is replaced by a dictionary D of k vectors and sparse coefficients P,
with W = D.delta(P) (equation 1 of the LCNN paper, arXiv 1611.06473). A layer is a class with
LookupLayer and the Keras layer as bases; see `convolution`, `dense`, `separable`, `transposed`.
"""

import contextlib
import contextvars
import dataclasses
import math
import warnings
import weakref

import keras
from keras import ops

from tf_lcnn import checks
from tf_lcnn.layers import family, sparsity


@dataclasses.dataclass(frozen=True)
class _Sharing:
    """Keeps Keras from tracking the owner of a shared dictionary as a layer inside."""

    owner: object


FORWARD_PATHS = ("auto", "stages", "folded")

# The batch that "auto" reckons with where the model's batch is not known: the paper's.
NOMINAL_BATCH = 128

_RAW = contextvars.ContextVar("raw", default=False)


@contextlib.contextmanager
def raw_coefficients():
    """Within this context layers save P as it is trained, inside the threshold too.

    With the straight-through gradient what is inside may come out again: a checkpoint keeps it, a
    finished model does not.
    """
    token = _RAW.set(True)
    try:
        yield
    finally:
        _RAW.reset(token)


# id of a dictionary -> the layer that made it.
_OWNERS = weakref.WeakValueDictionary()

# The arguments that a layer has beside those of its Keras layer.
OWN_ARGUMENTS = (
    *("dictionary_size", "dictionary", "dictionary_initializer", "dictionary_regularizer"),
    *("dictionary_constraint", "threshold_scale", "threshold_gradient", "forward"),
)

# The part of a layer's documentation that is the same for all.
ARGUMENTS = """
    `{kernel}_initializer`, `{kernel}_regularizer` and `{kernel}_constraint` go to the coefficients
    P, which are the kernel of the lookup stage. The arguments of its own:

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
        dictionary: variable D, (m, k){groups}.
        coefficients: variable P, {shape}; read it through `sparse_coefficients()`.
        sigma, epsilon: floats, known once the layer is built.

    Raises:
        ValueError: at construction, for a dictionary_size that is not smaller than the number
            of weight vectors it replaces ({vectors}), a negative threshold_scale, or an unknown
            value of threshold_gradient or forward; or a dictionary that no lookup layer holds,
            or of another size. When it is built, if the shared dictionary has other channels.
"""


def documentation(text, shape, vectors, kernel="kernel", groups=""):
    """The docstring of a layer: a text of its own, then what all layers have."""
    own = ARGUMENTS.format(shape=shape, vectors=vectors, kernel=kernel, groups=groups)
    return text.rstrip() + "\n" + own


def split_arguments(arguments, own_names):
    """(arguments of the Keras layer, those of a layer's own), of the `locals()` of `__init__`."""
    given = {k: v for k, v in arguments.items() if k not in ("self", "kwargs", "__class__")}
    own = {name: given.pop(name) for name in own_names}
    return {**given, **arguments["kwargs"]}, own


def with_bias(layer, outputs):
    """Outputs of a convolution or dense layer, plus the bias where it has one."""
    if not layer.use_bias:
        return outputs
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    shape = (1, -1, *(1,) * (len(outputs.shape) - 2))
    return outputs + (ops.reshape(layer.bias, shape) if first else layer.bias)


class LookupLayer:
    """What the layers share; comes before the Keras layer among their bases.

    A subclass has `build`, which ends in `_build_lookup`; `stage_positions`; and `_by_stages` and
    `_by_kernel`, the two ways of the forward pass.

    Attributes:
        coefficients_are: the Keras layer's name for the kernel that lookups replace, in front of
            "_initializer", "_regularizer" and "_constraint".
        groups: of channels that have a dictionary and filters of their own.
    """

    # See `graph.folding`.
    is_linear = True
    coefficients_are = "kernel"
    groups = 1

    def _construct(self, arguments):
        """Constructs the Keras layer, then takes the arguments of its own.

        Args:
            arguments: `locals()` of `__init__`: every argument by its name.
        """
        theirs, own = split_arguments(arguments, OWN_ARGUMENTS)
        super().__init__(**theirs)
        self._set_lookup_arguments(**own)

    def _set_lookup_arguments(
        self,
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
        if dictionary_size is not None:
            dictionary_size = self._checked_size(dictionary_size)
        sparsity.check_epsilon(threshold_scale, f"Layer {self.name}: threshold_scale")
        sparsity.check_gradient(threshold_gradient)
        if getattr(self, "lora_rank", None) and dictionary_size is not None:
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
        # Rounds D, P and S while it is set, see `compression.rounding`.
        self.rounding = None

    def _checked_size(self, dictionary_size):
        vectors = family.of_class(self).weight_vectors(self)
        try:
            return checks.whole_number(dictionary_size, "dictionary_size", 1, vectors - 1)
        except ValueError:
            raise ValueError(
                f"Layer {self.name}: dictionary_size={dictionary_size!r} must be a whole number "
                f"from 1 to {vectors - 1}, smaller than its {vectors} weight vectors"
                f"{' per group' if self.groups > 1 else ''}, or None for the plain layer."
            ) from None

    def _owner(self, dictionary):
        """The layer that holds a shared dictionary, given that or, when loading, the layer."""
        owner = dictionary if isinstance(dictionary, LookupLayer) else _OWNERS.get(id(dictionary))
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

    def _argument(self, name):
        """What was given for the coefficients: the initializer, regularizer or constraint."""
        return getattr(self, f"{self.coefficients_are}_{name}")

    def _build_lookup(self, channels, coefficients_shape):
        shape = coefficients_shape
        initializer = self._argument("initializer")
        self.sigma = sparsity.initializer_sigma(initializer, shape) if self.threshold_scale else 0.0
        self.epsilon = self.threshold_scale * self.sigma
        regularizer = self._argument("regularizer")
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
            initializer=initializer,
            regularizer=regularizer,
            constraint=self._argument("constraint"),
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
        """W = D.delta(P), the kernel of the Keras layer that this layer equals."""
        if self.dictionary_size is None:
            return super().kernel
        return self._product()

    def _product(self):
        if not self.built:
            raise AttributeError(f"Layer {self.name} has no kernel before it is built.")
        return sparsity.to_kernel(self.dictionary, self.sparse_coefficients(), self.groups)

    def sparse_coefficients(self):
        """delta(P): what the forward pass, saving and counting all see."""
        return sparsity.threshold(self.coefficients, self.epsilon, self.threshold_gradient)

    @property
    def holds_lookups(self):
        """Whether training as it is set up leaves the zeros of P zero.

        By the threshold with the masked gradient, by P being frozen, or by a constraint that says
        so, as `TopS` puts one there while it trains.
        """
        masked = self.epsilon > 0 and self.threshold_gradient == "masked"
        constraint = self.coefficients.constraint
        frozen = not self.coefficients.trainable
        return masked or frozen or getattr(constraint, "holds_lookups", False)

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
        m = m // self.groups
        folded = batch * positions * taps * m * n
        if None not in input_shape[1:]:
            # A map of unknown size is taken for one so large that the product does not count.
            folded += taps * m * k * n
        return "stages" if stages <= folded else "folded"

    def _cast_weights(self):
        dtype = self.compute_dtype
        return ops.cast(self.dictionary, dtype), ops.cast(self.sparse_coefficients(), dtype)

    def call(self, inputs):
        return super().call(inputs) if self.dictionary_size is None else self._look_up(inputs)

    def _look_up(self, inputs):
        dictionary, coefficients = self._cast_weights()
        if self.rounding is not None:
            dictionary, coefficients = self.rounding.weights(dictionary, coefficients)
        if self.rounding is None and self.forward_path(inputs.shape) == "folded":
            kernel = sparsity.to_kernel(dictionary, coefficients, self.groups)
            outputs = self._by_kernel(inputs, kernel)
        else:
            outputs = self._by_stages(inputs, dictionary, coefficients)
        outputs = with_bias(self, outputs)
        return outputs if self.activation is None else self.activation(outputs)

    def _between(self, looked_up):
        """S as the lookup stage reads it."""
        return looked_up if self.rounding is None else self.rounding.looked_up(looked_up)

    def _one_by_one(self, inputs, matrix, strides=1):
        """The convolution of one tap with a matrix (m, k), group by group where there are some."""
        m, k = matrix.shape
        if self.groups > 1:
            by_group = ops.reshape(matrix, (self.groups, m // self.groups, k))
            matrix = ops.reshape(ops.transpose(by_group, (1, 0, 2)), (m // self.groups, -1))
        kernel = ops.reshape(matrix, (*(1,) * len(self.kernel_size), *matrix.shape))
        return ops.conv(inputs, kernel, strides=strides, data_format=self.data_format)

    def _fixed_variables(self):
        """Variables beside dictionary, coefficients and bias."""
        return []

    def _lookup_variables(self):
        """What the layer saves; a shared dictionary is its owner's."""
        own = self.dictionary if self.dictionary_owner is None else None
        variables = (own, self.coefficients, self.bias, *self._fixed_variables())
        return [variable for variable in variables if variable is not None]

    def save_own_variables(self, store):
        if self.dictionary_size is None or not self.built:
            super().save_own_variables(store)
            return
        for i, variable in enumerate(self._lookup_variables()):
            sparse = variable is self.coefficients and not _RAW.get()
            store[str(i)] = self.sparse_coefficients() if sparse else variable

    def load_own_variables(self, store):
        if self.dictionary_size is None or not self.built:
            super().load_own_variables(store)
            return
        variables = self._lookup_variables()
        if len(store.keys()) != len(variables):
            raise ValueError(
                f"Layer {self.name} has {len(variables)} variables "
                f"({', '.join(variable.name for variable in variables)}), the weights file "
                f"{len(store.keys())}."
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
