"""Optimizers and learning rate schedules by name."""

import keras

from tf_lcnn import checks

# The paper's learning rates (section 4): (the epoch from which it holds, rate / first rate).
PAPER_SCHEDULES = {
    "alexnet": ((0, 1.0), (18, 0.5), (29, 0.1), (43, 0.05), (52, 0.01)),
    "resnet": ((0, 1.0), (7, 0.3), (16, 0.1), (25, 0.03), (30, 0.01)),
}


SCHEDULES = ("constant", "cosine", *PAPER_SCHEDULES)


OPTIMIZERS = ("sgd", "adam", "adamw")


def learning_rate(schedule, first, updates_per_epoch, epochs):
    """The learning rate as a function of the optimizer's updates.

    Args:
        schedule: "constant"; "cosine" (to 0 over all epochs); "alexnet" or "resnet", the steps
            of the LCNN paper.
        first: the rate at the start.

    Raises:
        ValueError: unknown schedule, or a rate that is not above 0.
    """
    checks.number(first, "The learning rate", above=0)
    if schedule == "constant":
        return first
    if schedule == "cosine":
        steps = max(1, updates_per_epoch * epochs)
        return keras.optimizers.schedules.CosineDecay(first, steps)
    if schedule not in PAPER_SCHEDULES:
        raise ValueError(f"Unknown schedule {schedule!r}: {', '.join(SCHEDULES)}.")
    steps = PAPER_SCHEDULES[schedule]
    boundaries = [epoch * updates_per_epoch - 1 for epoch, _ in steps[1:]]
    values = [first * factor for _, factor in steps]
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, values)


def optimizer(name, rate, momentum=0.9, weight_decay=0.0, parts=1):
    """A Keras optimizer.

    Args:
        name: "sgd", "adam" or "adamw".
        rate: number or schedule, see `learning_rate`.
        momentum: of SGD.
        weight_decay: decoupled, as in Keras: each update shrinks kernels, dictionaries and
            coefficients by rate * weight_decay. Biases and batch normalization are spared.
        parts: gradient accumulation steps.

    Raises:
        ValueError: unknown name, a negative momentum or weight decay, or no whole parts.
    """
    checks.number(momentum, "The momentum", least=0, most=1)
    checks.number(weight_decay, "The weight decay", least=0)
    checks.whole_number(parts, "The parts of a batch")
    shared = {
        "weight_decay": weight_decay or None,
        "gradient_accumulation_steps": parts if parts > 1 else None,
    }
    if name == "sgd":
        made = keras.optimizers.SGD(rate, momentum=momentum, **shared)
    elif name == "adam":
        made = keras.optimizers.Adam(rate, **shared)
    elif name == "adamw":
        # AdamW insists on a number.
        made = keras.optimizers.AdamW(rate, **{**shared, "weight_decay": weight_decay})
    else:
        raise ValueError(f"Unknown optimizer {name!r}: {', '.join(OPTIMIZERS)}.")
    if weight_decay:
        made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return made


def take_over(optimizer, earlier, variables):
    """Gives a new optimizer the state of an earlier one of the same settings.

    A saved optimizer forgets what is spared from weight decay, and Keras cannot tell it again.

    Args:
        optimizer: new.
        earlier: whose state it takes over.
        variables: the trainable variables of the model.

    Raises:
        ValueError: the two keep other variables.
    """
    optimizer.build(variables)
    shapes = [[tuple(x.shape) for x in one.variables] for one in (optimizer, earlier)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"The optimizer {earlier.name} keeps other variables than {optimizer.name}: it is of "
            "another model or of other settings."
        )
    for mine, theirs in zip(optimizer.variables, earlier.variables, strict=True):
        mine.assign(theirs)
