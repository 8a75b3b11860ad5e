"""The one way to look into the calls of layers, or to put something else in their place."""

import contextlib
import functools


@contextlib.contextmanager
def calls(functions):
    """Within this context layers run these functions in place of their own `call`.

    Contexts nest: an inner one gets what the outer one put there. Keras runs some layers past
    `call`, quantized ones for example; those are not reached.

    Args:
        functions: dict, layer or operation -> function(run, *args, **kwargs); `run` is what the
            layer would have run.
    """
    before = {}
    try:
        for layer, function in functions.items():
            before[layer] = vars(layer).get("call")
            layer.call = functools.partial(function, layer.call)
        yield
    finally:
        for layer, own in before.items():
            if own is None:
                vars(layer).pop("call", None)
            else:
                layer.call = own


def inputs(functions):
    """Like `calls`, for functions that only see: each gets what its layer is called on first."""

    def seeing(see):
        def call(run, x, *args, **kwargs):
            see(x)
            return run(x, *args, **kwargs)

        return call

    return calls({layer: seeing(see) for layer, see in functions.items()})
