"""Training on the device: the signatures of a .tflite in which some layers learn.

    infer     image -> output, as it has learned so far
    features  image -> features: what the layers before the trained ones compute
    train     features, labels, rate -> loss before the step, error
    save      unused -> state, model
    restore   state, model -> error
    reset     unused -> error

Training takes features: they stay the same while the layers behind them learn, so a photo costs the
whole net once and not at every step. Of a lookup layer that is trained on what does not change, a
feature is S, what the dictionary stage computes: that is the smaller part of the model to store.

What moves is the state, one vector: the coefficients that are not zero and the bias of each trained
layer. Dictionaries and indices are constants, as in the paper's few-shot learning (section 4.2),
and so are the statistics of batch normalization. `error` is one of `runtime.learning`; the state
is as it was where it is not DONE. `model` tells one model from another: a state fits its own alone.
"""

import dataclasses
import hashlib

import keras
import numpy as np
import tensorflow as tf

from tf_lcnn import checks, tasks
from tf_lcnn.compression.transfer import classifier
from tf_lcnn.graph import blocks
from tf_lcnn.graph.trace import Call
from tf_lcnn.layers import family
from tf_lcnn.layers.convolution import LookupConv2D
from tf_lcnn.layers.dense import LookupDense
from tf_lcnn.lite import gradients, packing
from tf_lcnn.lite.choice import lowered
from tf_lcnn.lite.converter import signatures_to_tflite
from tf_lcnn.runtime import learning
from tf_lcnn.tasks.classification import Classification

CLASSIFIER = "classifier"


@dataclasses.dataclass(frozen=True)
class Node:
    """A `gradients.Step` with the names of the values that it reads and makes.

    Attributes:
        places: for each of the step's weights that training moves, where in the flat weight its
            part of the state stands; empty for a step with constant weights.
        start: where its part of the state begins.
    """

    step: gradients.Step
    inputs: tuple
    output: object
    places: tuple = ()
    start: int = 0


@dataclasses.dataclass(frozen=True)
class Plan:
    """What of a model learns, and what of it is a feature.

    Attributes:
        model: the Keras model.
        layers: those that are trained.
        behind: these and all that depends on what they compute.
        cut: Keras tensors that the layers in front make and those behind read.
        front: the Nodes of `behind` that depend on no trained number: dictionary stages.
        nodes: the other Nodes, in order.
        features: names of the values that `nodes` read from elsewhere.
        start: float32 (parameters,), the state at first.
    """

    model: keras.Model
    layers: tuple
    behind: tuple
    cut: tuple
    front: tuple
    nodes: tuple
    features: tuple
    start: np.ndarray


def plan(model, train):
    """The Plan of a model.

    Args:
        model: a Keras model of one input and one output, functional or Sequential, that classifies.
        train: names of layers with lookups or dense layers, or "classifier", the last of them.

    Raises:
        ValueError: no such layer, a layer behind them without gradient, or another model.
    """
    if not isinstance(tasks.of(model), Classification):
        raise ValueError(f"{model.name} does not classify: training is of (batch, classes) alone.")
    if None in checks.input_shape(model):
        raise ValueError(
            f"The input of {model.name} has open sizes: training on the device needs fixed ones."
        )
    layers, connections = _trained(model, train), blocks.connections(model)
    if connections is None:
        raise ValueError(f"{model.name} calls a layer more than once: what learns is not known.")
    nodes, front, moving, behind, start = [], [], set(), [], []
    for operation, inputs, (output, *_) in connections:
        if operation not in layers and not moving.intersection(map(id, inputs)):
            continue
        behind.append(operation)
        for node in _nodes(operation, inputs, output, operation in layers, sum(map(len, start))):
            if node.places or moving.intersection(node.inputs):
                moving.add(node.output)
                nodes.append(node)
                weights = zip(node.step.weights, node.places, strict=bool(node.places))
                start += [weight.reshape(-1)[places] for weight, places in weights]
            else:
                front.append(node)
    if any(node.step.function is None for node in nodes[:-1]) or id(model.outputs[0]) not in moving:
        raise ValueError(f"{model.name} has a softmax that is not its output: no gradient for it.")
    made = {node.output for node in (*front, *nodes)}
    tensors = {id(x): x for _, inputs, _ in connections for x in inputs}
    read = dict.fromkeys(name for node in (*front, *nodes) for name in node.inputs)
    features = dict.fromkeys(name for node in nodes for name in node.inputs if name not in moving)
    cut = tuple(tensors[name] for name in read if name not in made)
    return Plan(
        *(
            model,
            tuple(x for x in behind if x in layers),
            tuple(behind),
            cut,
            tuple(front),
            tuple(nodes),
            tuple(features),
        ),
        np.concatenate(start),
    )


def _trained(model, train):
    """The layers that `train` names."""
    if isinstance(train, str) and train == CLASSIFIER:
        return [classifier(model)]
    known = {x.name: x for x in model.layers if isinstance(x, (LookupDense, LookupConv2D))}
    known.update({x.name: x for x in model.layers if type(x) is keras.layers.Dense})
    usable = {name: x for name, x in known.items() if family.of(x) or _is_dense(x)}
    if isinstance(train, str) or not hasattr(train, "__iter__") or not list(train):
        raise ValueError(f"train={train!r}: 'classifier', or a list of names of {_list(usable)}.")
    for name in train:
        if name not in usable:
            there = name in [layer.name for layer in model.layers]
            what = "has neither lookups nor is it dense" if there else "is not there"
            raise ValueError(
                f"Layer {name!r} of {model.name}, to be trained, {what}: {_list(usable)}."
            )
    return [usable[name] for name in dict.fromkeys(train)]


def _is_dense(layer):
    return family.plain_type(layer) is keras.layers.Dense


def _list(layers):
    return f"its layers that learn are {', '.join(layers) or 'none'}"


def _nodes(layer, inputs, output, is_trained, start):
    """The Nodes of a layer."""
    before, after = (tuple(x.shape[1:]) for x in (inputs[0], output))
    steps = gradients.steps(Call(layer, before, after, before))
    names, found = tuple(map(id, inputs)), []
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        places = ()
        if is_trained:
            places = tuple(
                np.flatnonzero(weight) if step.sparse else np.arange(weight.size)
                for weight in step.weights
            )
        name = id(output) if last else (id(output), number)
        found.append(Node(step, names, name, places, start))
        names, start = (name,), start + sum(map(len, places))
    return found


def convert(plan, choices):
    """The bytes of a .tflite with the signatures above; without any, it runs `infer`.

    Args:
        plan: a Plan.
        choices: of the lookup layers in front, see `choice.choose_lowerings`.

    Raises:
        ValueError: see `converter.signatures_to_tflite`.
    """
    with lowered(choices):
        module = _Module(plan)
        return packing.packed(signatures_to_tflite(module, module.signatures()))


def stamp(plan):
    """int32 (4,) that tells a model and what is trained of it from another."""
    found = hashlib.sha256()
    for layer in plan.layers:
        found.update(layer.name.encode())
    for variable in plan.model.weights:
        found.update(np.asarray(keras.ops.convert_to_numpy(variable), np.float32).tobytes())
    return np.frombuffer(found.digest(), "<i4", learning.STAMP_SIZE).astype(np.int32)


class _Module(tf.Module):
    """The state and the functions of a Plan."""

    def __init__(self, plan):
        super().__init__()
        self.plan, self.stamp = plan, stamp(plan)
        self.state = tf.Variable(plan.start)
        # Read by the layers in front; those that no signature assigns become constants.
        self.frozen = [variable.value for variable in plan.model.variables]
        self.in_front = keras.Model(plan.model.inputs, list(plan.cut))
        image = tf.zeros((1, *checks.input_shape(plan.model)))
        self.shapes = [tuple(x.shape[1:]) for x in self.front_values(image)]
        self.classes = plan.model.output_shape[-1]

    def signatures(self):
        """name -> concrete function."""
        image = tf.TensorSpec((1, *checks.input_shape(self.plan.model)), tf.float32, "image")
        width = sum(map(int, map(np.prod, self.shapes)))
        train = (
            tf.TensorSpec((None, width), tf.float32, "features"),
            tf.TensorSpec((None,), tf.int32, "labels"),
            # Of one number, not a scalar: older runtimes crash on ARM64 when they resize one.
            tf.TensorSpec((1,), tf.float32, "rate"),
        )
        restore = (
            tf.TensorSpec(self.state.shape, tf.float32, "state"),
            tf.TensorSpec(self.stamp.shape, tf.int32, "model"),
        )
        # LiteRT's API for Java runs no signature without an input.
        unused = (tf.TensorSpec((1,), tf.int32, "unused"),)
        given = {"infer": (image,), "features": (image,), "train": train, "restore": restore}
        return {
            name: tf.function(getattr(self, name)).get_concrete_function(*given.get(name, unused))
            for name in learning.SIGNATURES
        }

    # Signatures

    def infer(self, image):
        values, _ = self.run(self.state.read_value(), self.front_values(image))
        last = self.plan.nodes[-1]
        output = values[last.output]
        return {"output": tf.nn.softmax(output) if last.step.function is None else output}

    def features(self, image):
        parts = [tf.reshape(x, (1, -1)) for x in self.front_values(image)]
        return {"features": tf.concat(parts, 1)}

    def train(self, features, labels, rate):
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        parts = zip(tf.split(features, sizes, axis=1), self.shapes, strict=True)
        state = self.state.read_value()
        values, pullbacks = self.run(state, [tf.reshape(x, (-1, *shape)) for x, shape in parts])
        loss, gradient = _cross_entropy(values[self.plan.nodes[-1].output], labels, self.classes)
        moved = state - rate * self.gradient(pullbacks, gradient)
        are_classes = tf.reduce_all((labels >= 0) & (labels < self.classes))
        finite = _finite(moved) & _finite(rate) & tf.reduce_all(rate >= 0)
        self.state.assign(tf.where(are_classes & finite, moved, state))
        error = tf.where(finite, learning.DONE, learning.NOT_FINITE)
        return {"loss": loss, "error": tf.where(are_classes, error, learning.NO_SUCH_CLASS)}

    def save(self, unused):
        return {"state": self.state.read_value(), "model": tf.constant(self.stamp)}

    def restore(self, state, model):
        own, finite = tf.reduce_all(model == self.stamp), _finite(state)
        self.state.assign(tf.where(own & finite, state, self.state.read_value()))
        error = tf.where(finite, learning.DONE, learning.NOT_FINITE)
        return {"error": tf.where(own, error, learning.OTHER_MODEL)}

    def reset(self, unused):
        self.state.assign(self.plan.start)
        return {"error": tf.constant(learning.DONE)}

    # What they are made of

    def front_values(self, image):
        """The features of one image, each by itself."""
        found = keras.tree.flatten(self.in_front(image, training=False))
        values = dict(zip(map(id, self.plan.cut), found, strict=True))
        for node in self.plan.front:
            values[node.output], _ = _run(node, values, node.step.weights)
        return [values[name] for name in self.plan.features]

    def run(self, state, features):
        """The values by name, and the pullback of each node, of features each by itself."""
        values, pullbacks = dict(zip(self.plan.features, features, strict=True)), []
        for node in self.plan.nodes:
            values[node.output], pullback = _run(node, values, _weights(node, state))
            pullbacks.append(pullback)
        return values, pullbacks

    def gradient(self, pullbacks, gradient):
        """Of the state, from that of the last node's output."""
        nodes, parts = self.plan.nodes, {}
        moving = {node.output: None for node in nodes}
        moving[nodes[-1].output] = gradient
        for node, pullback in zip(reversed(nodes), reversed(pullbacks), strict=True):
            found = pullback(moving[node.output])
            for name, part in zip(node.inputs, found, strict=False):
                if name in moving:
                    # What several nodes read has the sum of their gradients.
                    moving[name] = part if moving[name] is None else moving[name] + part
            start = node.start
            for places, part in zip(node.places, found[len(node.inputs) :], strict=False):
                flat = tf.reshape(part, (-1,))
                all_move = len(places) == flat.shape[0]
                parts[start] = flat if all_move else tf.gather(flat, places.astype(np.int32))
                start += len(places)
        return tf.concat([parts[start] for start in sorted(parts)], 0)


def _run(node, values, weights):
    """(output, pullback) of a Node; a softmax is left to the loss."""
    inputs = [values[name] for name in node.inputs]
    if node.step.function is None:
        return inputs[0], lambda gradient: (gradient,)
    return node.step.function(*inputs, *weights)


def _weights(node, state):
    """The weights of a Node, as the state has them."""
    if not node.places:
        return node.step.weights
    found, start = [], node.start
    for weight, places in zip(node.step.weights, node.places, strict=True):
        part = state[start : start + len(places)]
        if len(places) < weight.size:
            part = tf.scatter_nd(places[:, None].astype(np.int32), part, (weight.size,))
        found.append(tf.reshape(part, weight.shape))
        start += len(places)
    return found


def _cross_entropy(logits, labels, classes):
    """(mean loss of a batch, its gradient by the logits)."""
    wanted = tf.one_hot(labels, classes)
    count = tf.cast(tf.shape(labels)[0], tf.float32)
    loss = -tf.reduce_sum(wanted * tf.nn.log_softmax(logits)) / count
    return loss, (tf.nn.softmax(logits) - wanted) / count


def _finite(x):
    # NaN is no smaller than anything.
    return tf.reduce_all(tf.abs(x) <= np.finfo(np.float32).max)
