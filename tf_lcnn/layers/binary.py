"""Binary activations: what goes into lookup layers is 0 or 1.

    model = binary_activations(lcnn)
    model.compile(...), model.fit(...)

A net has to be trained with them: put in front of the layers of a trained one, they leave little of
what it knows.

Sources: Zhou et al., "DoReFa-Net", 2016 (arXiv 1606.06160), section 2.4, activations of one bit;
Hubara et al., "Binarized neural networks", NeurIPS 2016, section 1.3, the gradient.
"""

import keras
from keras import ops

from tf_lcnn.graph import rebuild
from tf_lcnn.graph.trace import trace
from tf_lcnn.layers import family, levels


@keras.saving.register_keras_serializable(package="tf_lcnn")
class BinaryActivation(keras.layers.Layer):
    """1 where the input is above 0.5, else 0; gradients pass where it lies from 0 to 1."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs):
        return _binary(inputs)

    def compute_output_shape(self, input_shape):
        return input_shape


@ops.custom_gradient
def _binary(x):
    inside = ops.logical_and(x >= 0, x <= 1)

    def grad(*arguments, upstream=None):
        # Backends hand it over in one way or the other.
        upstream = arguments[0] if upstream is None else upstream
        return ops.multiply(upstream, ops.cast(inside, upstream.dtype))

    return ops.cast(x > 0.5, x.dtype), grad


def binary_activations(model):
    """A copy of a model in which lookup layers are called on zeros and ones.

    All but those that are the first or last layer with weights. The copy has the weights of the
    model, which it needs to be trained on with: see the module's text.

    Args:
        model: functional or Sequential, with one input.

    Raises:
        ValueError: it has no such layer, or cannot be cloned, see `rebuild.clone`.
    """
    rebuild.refuse_other_models(model)
    weighted = levels.weighted_layers(trace(model))
    inner = {x for x in weighted[1:-1] if family.of(x)}
    if not inner:
        raise ValueError(
            f"{model.name} has no lookup layer between its first and its last layer with weights, "
            "whose activations could be binary."
        )
    made = {}

    def call(layer, copy, x, *arguments, **others):
        if layer in inner:
            if layer not in made:
                made[layer] = BinaryActivation(name=f"{layer.name}_binary", dtype=layer.dtype)
            x = made[layer](x)
        return copy(x, *arguments, **others)

    copy, pairs = rebuild.clone(model, call=call)
    missed = [layer.name for layer in inner if layer not in made]
    if missed:
        raise ValueError(
            f"{model.name} has a Sequential model with {missed[0]} in it, into which nothing can "
            "be put: build it as one functional model."
        )
    rebuild.copy_weights(pairs)
    return copy
