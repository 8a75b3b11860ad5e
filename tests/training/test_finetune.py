"""Fine-tuning: sizes from loose to tight, dead rows, the teacher's part of the labels."""

import keras
import numpy as np
import pytest
from support import processes
from support.helpers import chain, numpy, random, settle

from tf_lcnn import LookupConv2D
from tf_lcnn.compression import size_plan
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.training import distillation, finetune
from tf_lcnn.training.callbacks import TopS, project


def net(k=8, **arguments):
    keras.utils.set_random_seed(0)
    return chain(
        (6, 6, 4),
        LookupConv2D(6, 3, k, name="first", **arguments),
        keras.layers.BatchNormalization(name="bn"),
        LookupConv2D(6, 3, k, name="second", threshold_scale=0),
        keras.layers.GlobalAveragePooling2D(name="pool"),
    )


def lookups(layer):
    return (numpy(layer.sparse_coefficients()) != 0).sum(axis=-2).max()


def rows(layer):
    return int(numpy(layer.sparse_coefficients()).any(axis=(0, 1, 3)).sum())


# From loose to tight


def test_sizes_fall_to_those_of_the_end():
    tighten = finetune.Tighten({"a": (4, 2)}, loose_lookups=4, loose_rows=2, epochs=4)
    assert [tighten.bounds("a", 16, epoch) for epoch in range(6)] == [
        *[(8, 8), (7, 6), (6, 4), (5, 3), (4, 2), (4, 2)]
    ]
    # Never more than the dictionary has.
    assert tighten.bounds("a", 6, 0) == (6, 6)


def test_training_holds_every_layer_to_its_own_sizes():
    model = net()
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append([(rows(x), lookups(x)) for x in lookup_layers(self.model)])

    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    sizes = {"first": (4, 2), "second": (3, 1)}
    model.fit(
        random((16, 6, 6, 4)),
        np.arange(16) % 6,
        8,
        epochs=3,
        verbose=0,
        callbacks=[finetune.Tighten(sizes, 2, 2, epochs=2), Watch()],
    )
    # Two steps an epoch.
    assert seen[0] == seen[1] == [(8, 4), (6, 2)]
    assert seen[-1] == seen[-2] == [(4, 2), (3, 1)]
    assert model.get_layer("first").coefficients.constraint is None


def test_the_rows_that_stay_are_those_that_give_most():
    layer = net().get_layer("second")
    scale = np.array([1, 9, 2, 8, 3, 7, 4, 6], np.float32)
    layer.dictionary.assign(np.tile(scale, (6, 1)))
    layer.coefficients.assign(np.ones(layer.coefficients.shape))
    np.testing.assert_array_equal(np.flatnonzero(finetune._strongest(layer, 4)), [1, 3, 5, 7])


def test_what_tighten_cannot_do_is_refused():
    with pytest.raises(ValueError, match="go down over at least one epoch"):
        finetune.Tighten({}, loose_lookups=0.5)
    model = net()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="no lookup layer third"):
        model.fit(
            random((2, 6, 6, 4)),
            random((2, 6)),
            verbose=0,
            callbacks=[finetune.Tighten({"third": (4, 2)})],
        )


def test_a_loosened_plan_starts_larger():
    model = chain(
        (4, 4, 4),
        keras.layers.Conv2D(6, 3, name="a"),
        keras.layers.Conv2DTranspose(2, 2, name="b"),
        keras.layers.Dense(6, name="c"),
    )
    sizes = {"a": (8, 2), "b": (4, 3), "c": (None, None)}
    layers = [
        size_plan.Choice(name, tuple(model.get_layer(name).kernel.shape), k, s, 1.0, 2.0, 0.1)
        for name, (k, s) in sizes.items()
    ]
    plan = size_plan.Plan("net", "bytes", 9.0, 0.0, tuple(layers))
    # The transposed layer has 2 * 2 * 2 weight vectors.
    assert size_plan.loosened(plan, model, 2, 1.5).sizes == {"a": (12, 4), "b": (6, 6)}
    assert size_plan.loosened(plan, model, 1, 9).sizes == {"a": (53, 2), "b": (7, 3)}
    assert size_plan.loosened(plan, model, 1, 1) == plan
    for factors in ((-1, 1), (1, 0.5), (float("nan"), 1)):
        with pytest.raises(ValueError, match="finite number >= 1"):
            size_plan.loosened(plan, model, *factors)


class Interrupt(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise KeyboardInterrupt


@pytest.mark.parametrize("tight", [TopS(1), finetune.Tighten({"first": (2, 1), "second": (2, 1)})])
@pytest.mark.parametrize("loose", [TopS(3), finetune.Tighten({"first": (6, 3), "second": (6, 3)})])
def test_a_bound_that_was_interrupted_does_not_bind_the_next_one(tight, loose):
    model = net(threshold_gradient="straight_through")
    first = model.get_layer("first")
    own = first.coefficients.constraint
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    data = random((16, 6, 6, 4)), np.arange(16) % 6
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data, 8, verbose=0, callbacks=[tight, Interrupt()])
    # Fresh coefficients, of which the looser bound keeps three.
    first.coefficients.assign(random(first.coefficients.shape, 3))
    model.fit(*data, 8, verbose=0, callbacks=[loose])
    assert lookups(first) == 3
    assert first.coefficients.constraint is own


# Dead rows


def kill(layer, *dead):
    coefficients = numpy(layer.coefficients).copy()
    coefficients[..., list(dead), :] = 0
    layer.coefficients.assign(coefficients)


def test_a_revived_row_shares_the_work_of_the_busiest_and_nothing_changes():
    model = net()
    project(model, 3)
    layer = model.get_layer("second")
    kill(layer, 2, 5)
    x = random((4, 6, 6, 4))
    before, count = numpy(model(x)), np.count_nonzero(numpy(layer.coefficients))
    assert rows(layer) == 6
    assert finetune.revive(layer) == 2
    assert rows(layer) == 8
    assert np.count_nonzero(numpy(layer.coefficients)) == count
    assert lookups(layer) <= 3
    np.testing.assert_allclose(numpy(model(x)), before, atol=1e-5)
    assert finetune.revive(layer) == 0


def sharing(**arguments):
    """Two layers with one dictionary; the rows 1 and 2 are dead in the first, 2 and 3 in both."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 4))
    first = LookupConv2D(6, 3, 5, name="first", **arguments)
    x = first(inputs)
    second = LookupConv2D(4, 3, dictionary=first.dictionary, name="second")
    model = keras.Model(inputs, keras.layers.Concatenate()([x, second(inputs)]))
    kill(first, 1, 2, 3)
    kill(second, 2, 3)
    return model, first, second


def test_a_row_is_dead_where_no_layer_that_shares_it_looks_it_up():
    model, first, second = sharing()
    x = random((3, 6, 6, 4), 2)
    before, kept = numpy(model(x)), numpy(first.dictionary)[:, 1].copy()
    assert finetune.revive(first, second) == 2
    np.testing.assert_allclose(numpy(model(x)), before, rtol=0, atol=1e-5)
    # Alive in the second layer.
    np.testing.assert_array_equal(numpy(first.dictionary)[:, 1], kept)
    used = sum(numpy(y.coefficients).any(axis=(0, 1, 3)).astype(int) for y in (first, second))
    assert (used > 0).all()


def test_training_revives_by_all_that_share_and_no_frozen_dictionary():
    model, first, second = sharing()
    first.dictionary.trainable = False
    frozen = numpy(first.dictionary).copy()
    targets = random((8, 4, 4, 10))
    model.compile("sgd", "mse")
    how = {"epochs": 2, "verbose": 0, "callbacks": [finetune.ReviveRows()]}
    model.fit(random((8, 6, 6, 4)), targets, **how)
    np.testing.assert_array_equal(numpy(first.dictionary), frozen)
    assert not numpy(second.coefficients)[:, :, 2].any()
    first.dictionary.trainable = True
    model.compile("sgd", "mse")
    model.fit(random((8, 6, 6, 4)), targets, **how)
    assert numpy(first.coefficients)[:, :, 2:4].any() or numpy(second.coefficients)[:, :, 2].any()


def test_rows_are_revived_while_training_goes_on():
    model = net()
    kill(model.get_layer("second"), 2)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.get_layer("second").coefficients.trainable = False
    arguments = {"verbose": 0, "callbacks": [finetune.ReviveRows()]}
    model.fit(random((4, 6, 6, 4)), np.arange(4), epochs=1, **arguments)
    assert rows(model.get_layer("second")) == 7
    model.fit(random((4, 6, 6, 4)), np.arange(4), epochs=2, **arguments)
    assert rows(model.get_layer("second")) == 8


def test_dead_rows_are_dropped_and_nothing_changes():
    model = settle(net(threshold_scale=0.3))
    kill(model.get_layer("first"), 0, 3)
    kill(model.get_layer("second"), *range(8))
    x = random((4, 6, 6, 4))
    dropped = finetune.drop_rows(model)
    assert [x.dictionary_size for x in lookup_layers(dropped)] == [6, 1]
    np.testing.assert_allclose(numpy(dropped(x)), numpy(model(x)), atol=1e-6)
    assert model.get_layer("first").dictionary_size == 8


# The teacher


def batch(count=5, classes=6, hints=0, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (count, 1))
    return (
        labels,
        rng.normal(size=(count, classes + hints)),
        rng.normal(size=(count, classes + hints)),
    )


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("weight", "temperature", "hints"), [(0, 1, 0), (1, 4, 0), (0.3, 2, 0), (0.5, 4, 0.7)]
)
def test_the_loss_is_that_of_the_formula(weight, temperature, hints):
    labels, answers, outputs = batch(hints=8)
    loss = distillation.DistillationLoss(6, weight, temperature, hints)
    found = loss(np.concatenate([labels, answers], axis=-1), outputs)
    p, q = (softmax(x[:, :6] / temperature) for x in (answers, outputs))
    cross = -np.log(softmax(outputs[:, :6])[np.arange(5), labels[:, 0]])
    divergence = (p * np.log(p / q)).sum(axis=-1)
    error = ((outputs[:, 6:] - answers[:, 6:]) ** 2).mean(axis=-1) / (answers[:, 6:] ** 2).mean()
    expected = (1 - weight) * cross + weight * temperature**2 * divergence + hints * error
    assert float(found) == pytest.approx(expected.mean(), rel=1e-5)


@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_plain_labels_are_taken_too(shape):
    labels, answers, outputs = batch()
    plain = labels.reshape(shape)
    loss = float(distillation.DistillationLoss(6, 0.5)(plain, outputs))
    cross = -np.log(softmax(outputs)[np.arange(5), labels[:, 0]])
    assert loss == pytest.approx(cross.mean(), rel=1e-5)
    for y in (plain, np.concatenate([labels, answers], axis=-1)):
        accuracy = distillation.LabelAccuracy(6)
        accuracy.update_state(y, outputs)
        expected = (outputs.argmax(axis=-1) == labels[:, 0]).mean()
        assert float(accuracy.result()) == pytest.approx(expected)


def test_a_teacher_answers_and_a_model_learns_from_it_alone(tmp_path):
    teacher, student = net(), settle(net(7))
    x = random((32, 6, 6, 4))
    wrong = np.zeros(32, int)

    def distance():
        return np.abs(softmax(numpy(student(x))) - softmax(numpy(teacher(x)))).mean()

    before = distance()
    student.compile(
        keras.optimizers.Adam(0.01),
        distillation.DistillationLoss(6, 1.0, 1.0),
        metrics=[distillation.LabelAccuracy(6)],
    )
    batches = distillation.with_teacher([(x, wrong)] * 40, teacher)
    student.fit(batches, steps_per_epoch=40, verbose=0)
    assert distance() < 0.5 * before
    # All answers at once, for model.fit; plain labels beside them, as in validation.
    rows = distillation.with_answers(x, wrong[:, None], teacher, batch_size=5)
    np.testing.assert_array_equal(rows[:, 0], wrong)
    np.testing.assert_allclose(rows[:, 1:], numpy(teacher(x)), rtol=1e-5, atol=1e-6)
    seen = student.fit(x, rows, epochs=2, verbose=0, validation_data=(x, wrong)).history
    assert distance() < 0.5 * before and len(seen["val_accuracy"]) == 2
    with pytest.raises(ValueError, match="32 images, and 31 labels"):
        distillation.with_answers(x, wrong[1:], teacher)
    # The compiled model can be saved and resumed.
    student.save(tmp_path / "student.keras")
    loaded = keras.models.load_model(tmp_path / "student.keras")
    assert loaded.loss.get_config() == student.loss.get_config()


def test_a_model_that_was_taught_loads_in_a_process_that_imports_the_library_alone(tmp_path):
    model = net()
    model.compile("sgd", distillation.DistillationLoss(6), [distillation.LabelAccuracy(6)])
    model.save(tmp_path / "taught.keras")
    code = (
        "import sys, keras, tf_lcnn; "
        "print(type(keras.models.load_model(sys.argv[1]).loss).__name__)"
    )
    done = processes.run(code, tmp_path / "taught.keras")
    assert done.stdout == "DistillationLoss\n", done.stderr


def test_hints_come_with_the_logits_and_go():
    model = net()
    hinted = distillation.with_hints(model, ["bn"])
    x = random((2, 6, 6, 4))
    inner = keras.Model(model.inputs, model.get_layer("bn").output)
    expected = np.concatenate([numpy(model(x)), numpy(inner(x)).reshape(2, -1)], axis=-1)
    np.testing.assert_allclose(numpy(hinted(x)), expected, atol=1e-6)
    np.testing.assert_array_equal(numpy(distillation.without_hints(hinted)(x)), numpy(model(x)))
    assert (
        distillation.with_hints(model, []) is model and distillation.without_hints(model) is model
    )
    with pytest.raises(ValueError, match=r"no layer 'block'; it has: .*bn"):
        distillation.with_hints(model, ["block"])


@pytest.mark.parametrize("arguments", [(1.5, 4, 0), (0.5, 0, 0), (0.5, 4, -1)])
def test_weights_that_make_no_sense_are_refused(arguments):
    with pytest.raises(ValueError, match="a weight from 0 to 1, a temperature > 0 and hints >= 0"):
        distillation.DistillationLoss(6, *arguments)
