"""On paper: how data parallel training of LCNNs and their dense twins scales over GPUs.

    KERAS_BACKEND=jax python -m benchmarks.latency.scaling

Counted, of a training step: FLOPs, forward and backward, as XLA counts them in the step that it is
given; and bytes of the gradient, which all GPUs sum. Assumed: the rates of a GPU and of its links
by the makers' data sheets (`MACHINES`), the share of the peak that training reaches, and a
reduction in two stages, inside each machine of 8 GPUs and between the machines, each GPU over its
own link:

    t_reduce = 2 * (g - 1) / g * bytes / inside + 2 * (m - 1) / m * bytes / g / between

for m machines of g GPUs. No part of it is hidden behind the computing in `apart`; as much as fits
behind the backward pass, 2/3 of it, in `hidden`. Efficiency is t_step / (t_step + what waits).
"""

import dataclasses

import keras
import numpy as np
from absl import flags
from keras import ops

from tf_lcnn import models, programs
from tf_lcnn.layers.family import lookup_layers

FLAGS = flags.FLAGS

flags.DEFINE_list("models", ["resnet18", "resnet50"], "Dense twins of the LCNNs.")
flags.DEFINE_list("sizes", ["fast", "accurate"], "Presets of dictionary sizes.")
flags.DEFINE_integer("batch", 32, "Images of a step on each GPU.", lower_bound=1)
flags.DEFINE_list("gpus", ["8", "64", "512"], "How many GPUs.")
flags.DEFINE_float("utilization", 0.3, "Share of a GPU's peak that training reaches; assumed.")
flags.DEFINE_integer("top_s", 3, "Lookups per position, for a gradient of P without its zeros.")

PER_MACHINE = 8


@dataclasses.dataclass(frozen=True)
class Machine:
    """Of one GPU, by data sheets: bfloat16 FLOP/s without sparsity, and bytes/s each way."""

    name: str
    flops: float
    inside: float
    between: float


MACHINES = (
    # NVIDIA H100 SXM: 989 TFLOP/s, NVLink 900 GB/s both ways together; DGX H100: 400 Gb/s a GPU.
    Machine("H100, NVLink, 400 Gb/s InfiniBand a GPU", 989e12, 450e9, 50e9),
    # NVIDIA A100 SXM: 312 TFLOP/s, NVLink 600 GB/s both ways together; DGX A100: 200 Gb/s a GPU.
    Machine("A100, NVLink, 200 Gb/s InfiniBand a GPU", 312e12, 300e9, 25e9),
    # The same GPU where 8 of them share one 25 Gb/s Ethernet port.
    Machine("A100, NVLink, 25 Gb/s Ethernet for 8", 312e12, 300e9, 25e9 / 8 / 8),
)


def step_flops(model, batch):
    """FLOPs of the loss of a batch and its gradient."""
    import jax

    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def loss(trainable, others, images, labels):
        logits, others = model.stateless_call(trainable, others, images, training=True)
        return loss_of(labels, logits), others

    def shapes(variables):
        return [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in variables]

    lowered = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(
        *(shapes(model.trainable_variables), shapes(model.non_trainable_variables)),
        jax.ShapeDtypeStruct((batch, *model.input_shape[1:]), "float32"),
        jax.ShapeDtypeStruct((batch,), "int32"),
    )
    return lowered.cost_analysis()["flops"]


def gradient_bytes(model, top_s=None):
    """Bytes of a float32 gradient; with `top_s` those of P's lookups only, their places known."""
    entries = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    for layer in lookup_layers(model) if top_s else ():
        dense = int(ops.size(layer.coefficients))
        entries -= dense - dense * min(top_s, layer.dictionary_size) // layer.dictionary_size
    return 4 * entries


def reduce_seconds(machine, size, gpus):
    inside, machines = min(gpus, PER_MACHINE), -(-gpus // PER_MACHINE)
    seconds = 2 * (inside - 1) / inside * size / machine.inside
    return seconds + 2 * (machines - 1) / machines * size / inside / machine.between


def efficiencies(machine, flops, size, gpus):
    """(apart, hidden): shares of `gpus` times one GPU's images per second."""
    step = flops / (machine.flops * FLAGS.utilization)
    reducing = reduce_seconds(machine, size, gpus)
    return step / (step + reducing), step / (step + max(0.0, reducing - step * 2 / 3))


def main():
    if keras.backend.backend() != "jax":
        raise ValueError("XLA counts the FLOPs: that needs KERAS_BACKEND=jax.")
    nets = []
    for name in FLAGS.models:
        for sizes in [None, *FLAGS.sizes]:
            chosen = {} if sizes is None else {"dictionary_sizes": sizes}
            model = models.build(name if sizes is None else f"{name}_lcnn", **chosen)
            flops, size = step_flops(model, FLAGS.batch), gradient_bytes(model)
            sparse = gradient_bytes(model, FLAGS.top_s)
            nets.append((f"{name}, {sizes or 'dense twin'}", flops, size, sparse))
    print(
        f"A step of {FLAGS.batch} images:\n\n| net | GFLOP | gradient, MB | in D and {FLAGS.top_s} "
        "lookups of P, MB |\n|---|---|---|---|"
    )
    for name, flops, size, sparse in nets:
        print(f"| {name} | {flops / 1e9:,.0f} | {size / 1e6:.1f} | {sparse / 1e6:.1f} |")
    for machine in MACHINES:
        print(f"\n{machine.name}; efficiency apart / hidden, and with the short gradient apart:\n")
        print("| net | " + " | ".join(f"{n} GPUs" for n in FLAGS.gpus) + " |")
        print("|---" * (len(FLAGS.gpus) + 1) + "|")
        for name, flops, size, sparse in nets:
            cells = []
            for gpus in map(int, FLAGS.gpus):
                apart, hidden = efficiencies(machine, flops, size, gpus)
                short, _ = efficiencies(machine, flops, sparse, gpus)
                cells.append(f"{apart:.0%} / {hidden:.0%}, {short:.0%}")
            print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    programs.run(main)
