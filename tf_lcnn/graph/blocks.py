"""A functional model cut into blocks, at the tensors that alone carry everything onward.

    for block in blocks.split(model, starts):
        inputs = block(inputs)

The blocks share their layers with the model, so what trains a block trains the model.
"""

import keras


def cuts(model):
    """(number of operations before it, tensor) wherever one tensor carries everything onward.

    Args:
        model: functional or Sequential, built, with one input and one output.

    Returns:
        list in the order of the operations; first the input of the model, last its output. Of a
        model that calls a layer more than once these two alone: which call is meant is not known.
    """
    whole = [(0, model.inputs[0]), (len(_operations(model)), model.outputs[0])]
    taken = connections(model)
    if taken is None:
        return whole
    last_use = {id(model.outputs[0]): len(taken)}
    for number, (_, inputs, _) in enumerate(taken):
        last_use.update({id(tensor): number for tensor in inputs})
    last_use[id(model.outputs[0])] = len(taken)
    found, alive = [whole[0]], [model.inputs[0]]
    for number, (_, _, outputs) in enumerate(taken):
        alive = [x for x in [*alive, *outputs] if last_use.get(id(x), -1) > number]
        if len(alive) == 1 and alive[0] is not found[-1][1]:
            found.append((number + 1, alive[0]))
    return found if found[-1][1] is model.outputs[0] else whole


def _operations(model):
    if isinstance(model, keras.Sequential):
        return list(model.layers)
    return [x for x in model.operations if not isinstance(x, keras.layers.InputLayer)]


def connections(model):
    """(operation, its input tensors, its output tensors) in the order in which they run.

    None where they are not one chain: an operation is called more than once.

    Args:
        model: see `cuts`.
    """
    known, taken = {id(model.inputs[0])}, []
    for operation in _operations(model):
        try:
            inputs, outputs = map(keras.tree.flatten, (operation.input, operation.output))
        except (AttributeError, ValueError):
            # Called more than once, or never.
            return None
        if not {id(x) for x in inputs} <= known:
            # The calls that are asked for are those of another model with the same layer.
            return None
        known |= {id(x) for x in outputs}
        taken.append((operation, inputs, outputs))
    return taken


def split(model, starts, size=1):
    """The blocks of a model, each with up to `size` of some layers and what follows them.

    Args:
        model: see `cuts`.
        starts: ids of the layers that are counted. A block ends at the last cut before the next
            of them, so with the normalization and activation behind it.
        size: layers in a block; where no cut lies between layers a block has more.

    Returns:
        list of (first cut, last cut): numbers of the entries of `cuts(model)`.
    """
    operations, found = _operations(model), cuts(model)
    places = [i for i, x in enumerate(operations) if id(x) in starts]
    ends, begin = [], 0
    for number, (here, _) in enumerate(found[:-1]):
        nearest = next((p for p in places if p >= here), None)
        following = found[number + 1][0]
        # The last cut in front of the next counted layer.
        if nearest is None or not here <= nearest < following:
            continue
        counted = sum(found[begin][0] <= p < here for p in places)
        if counted >= size:
            ends.append((begin, number))
            begin = number
    return [*ends, (begin, len(found) - 1)]


def part(model, first, last):
    """The model from one cut to another, sharing its layers.

    Args:
        model: see `cuts`.
        first, last: numbers of entries of `cuts(model)`.
    """
    found = cuts(model)
    return keras.Model(found[first][1], found[last][1])
