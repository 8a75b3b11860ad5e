"""Several hosts: the same losses on 1, 2 and 4 of them, killed at any moment, and misused.

Every host is a process with one CPU core as its device.
"""

import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.data.test_photos import write
from tf_lcnn.compression import sites, size_plan
from tf_lcnn.data import datasets, records
from tf_lcnn.models import saving
from tf_lcnn.tasks import classification
from tf_lcnn.training import hosts
from tools import launch

ROOT = pathlib.Path(__file__).resolve().parents[2]
RECORDER = ROOT / "tests" / "support" / "host_runs.py"
# Digits' validation has 144 images: with batches of 100 a short one of 44 comes last, and over 8
# devices it is filled up.
SHARES = (1, 2, 4, 8)
# (hosts, devices of each)
SEVERAL = ((2, 1), (4, 1), (1, 4))
STARTED = []


class SomeHost(hosts.Hosts):
    def __init__(self, devices):
        self.devices = devices


def rows(batches):
    return [np.concatenate(x) for x in zip(*batches.as_numpy_iterator(), strict=True)]


def training(share=None, parts=1):
    data = datasets.load("digits")
    augment = classification.Classification().augment
    return data.training(64, 3, 4, 5, parts, augment, share).take(4)


# Who gets which rows


@pytest.mark.parametrize("count", SHARES)
@pytest.mark.parametrize("parts", [1, 2])
def test_the_hosts_rows_are_those_of_one_host_drawn_alike(count, parts):
    whole = list(training(parts=parts).as_numpy_iterator())
    shares = [list(training((i, count, count), parts).as_numpy_iterator()) for i in range(count)]
    for number, (images, labels) in enumerate(whole):
        own = [share[number] for share in shares]
        np.testing.assert_array_equal(np.concatenate([x for x, _ in own]), images)
        np.testing.assert_array_equal(np.concatenate([y for _, y in own]), labels)


@pytest.mark.parametrize("count, devices", [(1, 1), (2, 2), (4, 4), (2, 16), (5, 5)])
def test_a_weighted_mean_over_all_hosts_is_the_mean_of_the_split(count, devices):
    data = datasets.load("digits")
    images, labels = rows(data.evaluation("validation", 100))
    shares = [
        list(data.shared_evaluation("validation", 80, (i, count, devices)).as_numpy_iterator())
        for i in range(count)
    ]
    total = weighted = seen = 0
    for batch in zip(*shares, strict=True):
        sizes = {len(x) for x, _, _ in batch}
        assert len(sizes) == 1 and sizes.pop() * count % devices == 0
        x, y, weights = (np.concatenate(part) for part in zip(*batch, strict=True))
        real = weights > 0
        np.testing.assert_array_equal(x[real], images[seen : seen + real.sum()])
        seen += real.sum()
        total += len(y)
        weighted += (y * weights).sum()
    assert seen == len(labels)
    np.testing.assert_allclose(weighted / total, labels.mean(), rtol=1e-6)


def test_a_batch_that_the_devices_do_not_divide_is_refused():
    SomeHost(4).check_batch(64, 2, 100)
    with pytest.raises(ValueError, match=r"--batch_size=60 in --break_batch=2 parts .* 8 .*: 64 "):
        SomeHost(8).check_batch(60, 2, 100)
    with pytest.raises(ValueError, match="128 devices for 100 training examples"):
        SomeHost(128).check_batch(128, 1, 100)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"coordinator": "a:1"}, "go together"),
        ({"distribute": False, "coordinator": "a:1", "processes": 1, "process": 0}, "together"),
        ({"coordinator": "a", "processes": 1, "process": 0}, "'a': HOST:PORT"),
        ({"coordinator": "a:1", "processes": 2, "process": 2}, "--process must be .* 0 to 1"),
        ({"coordinator": "a:1", "processes": 2, "process": 1}, "several need KERAS_BACKEND=jax"),
    ],
)
def test_a_place_that_is_none_is_refused(given, message):
    with pytest.raises(ValueError, match=message), hosts.joined(**{"distribute": True, **given}):
        pass


def test_one_device_of_tensorflow_takes_what_several_refuse(monkeypatch):
    def devices(kind):
        return [] if kind == "GPU" else [tf.config.LogicalDevice(f"CPU:{i}", kind) for i in names]

    monkeypatch.setattr(tf.config, "list_logical_devices", devices)
    for names in ("0", "01"):
        with hosts.joined(True) as team:
            assert team.devices == len(names) and team.share == (0, 1, len(names))
            team.check_batch(64, 1, 100)
            if names == "0":
                team.check_batch(64, 4, 100)
                continue
            with pytest.raises(ValueError, match=r"--break_batch=4: with TensorFlow .* 2, which"):
                team.check_batch(64, 4, 100)


def test_other_examples_have_another_digest():
    data = datasets.load("digits")
    part = data.train.take(np.arange(7))
    assert part.digest() == data.train.take(np.arange(7)).digest()
    assert part.digest() != data.train.take(np.arange(1, 8)).digest()
    relabeled = records.Indexed(part.payloads, part.labels + 1)
    assert part.digest() != relabeled.digest()


@pytest.mark.parametrize("failing", [None, "--process=1"])
def test_the_launcher_ends_as_the_worst_of_its_processes(failing):
    told = f"import sys; sys.exit({failing!r} in sys.argv or len(sys.argv) != 5)"
    assert launch.main(["--processes=2", "--", "-c", told]) == (failing is not None)


# Whole runs


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    """The flags of a run that codes a trained model: it tightens, revives rows and is taught."""
    folder = tmp_path_factory.mktemp("coded")
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(8, 3, name=name) for name in ("first", "second")]
    norms = [keras.layers.BatchNormalization(), keras.layers.ReLU()]
    tail = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10, name="logits")]
    model = keras.Sequential([keras.Input((8, 8, 1)), layers[0], *norms, layers[1], *tail])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(
        datasets.load("digits").training(64, 0, 4, 0), epochs=4, steps_per_epoch=20, verbose=0
    )
    saving.save_model(model, folder / "dense.keras")
    sizes = {"first": (4, 2), "second": (6, 2)}
    chosen = [
        size_plan.Choice(name, kernel, *sizes.get(name, (None, None)), 1.0, 2.0, 0.0)
        for name, kernel in sites.kernels(model).items()
    ]
    plan = size_plan.Plan("sequential", "multiplications", 1.0, 0.0, tuple(chosen))
    plan.save(folder / "plan.json")
    start = [f"--init_from={folder / 'dense.keras'}", f"--plan={folder / 'plan.json'}"]
    return [*start, "--init=random", "--loose_lookups=2", "--loose_rows=1.5", "--tighten_epochs=1"]


def environment(devices=1, backend="jax"):
    return {
        **os.environ,
        "KERAS_BACKEND": backend,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "TENSORFLOW_DEVICES": str(devices),
    }


@pytest.fixture(scope="module", autouse=True)
def started():
    """No process that a test starts outlives it."""
    yield
    for process in STARTED:
        process.kill()


def start_one(*command, devices=1, backend="jax"):
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=environment(devices, backend),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    STARTED.append(process)
    return process


def start(count, *program, each=lambda i: (), devices=1):
    """The processes of hosts that run a program; `each` says what more flags host i has."""
    place = (
        "--distribute",
        f"--coordinator=127.0.0.1:{launch.free_port()}",
        f"--processes={count}",
    )
    return [
        start_one(*program, *place, f"--process={i}", *each(i), devices=devices)
        for i in range(count)
    ]


def ended(processes, seconds=900):
    """(exit status, standard error) of each."""
    results = []
    for process in processes:
        _, errors = process.communicate(timeout=seconds)
        results.append((process.returncode, errors))
    return results


def flags(parent, run_dir, *more):
    chosen = ("--dataset=digits", "--batch_size=256", "--learning_rate=0.1")
    return [f"--retrain={parent}", *chosen, f"--run_dir={run_dir}", *more]


@pytest.fixture(scope="module")
def recorded(parent, coded, tmp_path_factory):
    """(hosts, devices of each) -> the losses of each batch of four runs; all run side by side."""
    folders = {places: tmp_path_factory.mktemp("hosts") for places in ((1, 1), *SEVERAL)}
    running = {}
    for (count, devices), folder in folders.items():
        broken = "--break_batch=4"
        runs = [
            flags(parent, folder / "top_s", "--epochs=2", "--top_s=2"),
            flags(parent, folder / "broken", broken, "--epochs=1"),
            [*flags(parent, folder / "broken", broken, "--epochs=2")[1:], "--resume"],
            [*coded, *flags(parent, folder / "coded", "--epochs=2")[1:]],
        ]
        program = (RECORDER, folder, json.dumps(runs))
        running[count, devices] = start(count, *program, devices=devices)
    losses = {}
    for places, processes in running.items():
        for code, errors in ended(processes):
            assert code == 0, errors
        losses[places] = json.loads((folders[places] / "steps.json").read_text())
    return losses


@pytest.mark.slow
@pytest.mark.parametrize("places", SEVERAL)
def test_the_losses_of_all_batches_are_those_of_one_device(recorded, places):
    assert [len(run) for run in recorded[1, 1]] == [18, 24, 24, 18]
    for several, one in zip(recorded[places], recorded[1, 1], strict=True):
        np.testing.assert_allclose(several, one, rtol=1e-5)


@pytest.mark.slow
def test_the_losses_with_tensorflow_are_those_of_one_device(parent, coded, tmp_path):
    losses = {}
    for devices in (1, 4):
        folder = tmp_path / str(devices)
        runs = [
            flags(parent, folder / "top_s", "--epochs=1", "--top_s=2", "--noexport"),
            [*flags(parent, folder / "top_s", "--epochs=2", "--top_s=2", "--noexport")[1:]],
            [*coded, *flags(parent, folder / "coded", "--epochs=2", "--noexport")[1:]],
        ]
        runs[1].append("--resume")
        folder.mkdir()
        program = (RECORDER, folder, json.dumps(runs), "--distribute")
        process = start_one(*program, devices=devices, backend="tensorflow")
        [(code, errors)] = ended([process])
        assert code == 0, errors
        losses[devices] = json.loads((folder / "steps.json").read_text())
        kept = saving.load_model(folder / "top_s" / "checkpoint.keras")
        norms = [x for x in kept.layers if isinstance(x, keras.layers.BatchNormalization)]
        assert not any(norm.synchronized for norm in norms)
    assert [len(run) for run in losses[1]] == [9, 9, 18]
    for several, one in zip(losses[4], losses[1], strict=True):
        np.testing.assert_allclose(several, one, rtol=1e-5)


@pytest.mark.slow
def test_photos_and_clouds_of_points_have_the_losses_of_one_device(tmp_path):
    for i in range(24):
        write(tmp_path / "photos", f"p{i}.png", (48, 40 + 8 * (i % 3)), i)
    folders = {count: tmp_path / str(count) for count in (1, 2)}
    quick = ("--optimizer=adam", "--learning_rate=0.003", "--batch_size=8", "--epochs=1")
    running = {}
    for count, folder in folders.items():
        folder.mkdir()
        photos = ("--task=super_resolution", "--model=espcn_lcnn", "--patch_size=32", "--patches=2")
        photos += (f"--data_dir={tmp_path / 'photos'}", f"--run_dir={folder / 'photos'}", *quick)
        clouds = ("--flagfile=digits_points_lcnn.cfg", "--batch_size=256", "--epochs=1")
        clouds += (f"--run_dir={folder / 'clouds'}",)
        running[count] = start(count, RECORDER, folder, json.dumps([photos, clouds]))
    for count, processes in running.items():
        for code, errors in ended(processes):
            assert code == 0, errors
        running[count] = json.loads((folders[count] / "steps.json").read_text())
    (photos, clouds), (photos_of_one, clouds_of_one) = running[2], running[1]
    assert len(photos) == len(clouds) == 9
    np.testing.assert_allclose(photos, photos_of_one, rtol=1e-5)
    # Of a PointNet that begins rounding grows to 1e-3 in a few updates: one device with another
    # number of cores, or weights moved by 1e-7, does no better. The second loss is after an update.
    np.testing.assert_allclose(clouds[:2], clouds_of_one[:2], rtol=1e-5)


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_all_hosts_at_the_same_batch(parent, tmp_path):
    given = (f"--retrain={parent}", "--dataset=digits", "--batch_size=256", "--learning_rate=1e30")
    processes = start(2, "train.py", *given, f"--run_dir={tmp_path / 'run'}")
    told = set()
    for code, errors in ended(processes):
        assert code == 1
        told |= set(re.findall(r"The loss is (?:nan|inf) in epoch 1, batch \d+", errors))
    assert len(told) == 1
    assert not (tmp_path / "run" / "checkpoint.keras").exists()


def checkpoints_begun(run_dir):
    return list(run_dir.glob("partial-*-checkpoint.keras"))


def epochs_done(run_dir):
    log = run_dir / "log.csv"
    return max(0, log.read_text().count("\n") - 1) if log.is_file() else 0


def wait_until(condition, processes, seconds=900):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        assert all(process.poll() is None for process in processes)
        time.sleep(0.001)


def kill(processes, which):
    """Kills one of two hosts: the other ends within a minute, and names it."""
    processes[which].send_signal(signal.SIGKILL)
    since = time.monotonic()
    code, errors = ended([processes[1 - which]])[0]
    ended(processes)
    assert time.monotonic() - since < 60
    assert code == 1
    assert re.search(rf"train.py: Host {which} \(\S+\) has died: the run ends; --resume", errors)


@pytest.mark.slow
def test_a_run_killed_at_five_moments_is_the_unbroken_one(parent, tmp_path):
    epochs, moments = 12, random.Random(14)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    unbroken = start(1, "train.py", *flags(parent, whole, f"--epochs={epochs}", "--top_s=2"))
    again = flags(parent, broken, f"--epochs={epochs}", "--top_s=2", "--checkpoint_steps=2")
    checkpoint = broken / "checkpoint.keras"
    for number, in_checkpoint in enumerate(moments.sample([True, True, False, False, False], 5)):
        resumed = [*again[1:], "--resume"] if checkpoint.is_file() else [*again, "--overwrite"]
        before = epochs_done(broken) + (number > 0)
        processes = start(2, "train.py", *resumed)
        wait_until(lambda least=before: epochs_done(broken) > least, processes)
        if in_checkpoint:
            wait_until(lambda: checkpoints_begun(broken), processes)
        else:
            time.sleep(moments.uniform(0, 0.3))
        kill(processes, 0 if in_checkpoint else moments.randrange(2))
        if checkpoint.is_file():
            saving.load_model(checkpoint)
    last = start(1, "train.py", *again[1:], "--resume")
    for code, errors in ended([*last, *unbroken]):
        assert code == 0, errors
    kept, expected = (
        np.genfromtxt(folder / "log.csv", delimiter=",", names=True) for folder in (broken, whole)
    )
    assert kept["epoch"].tolist() == list(range(epochs))
    for figure in ("loss", "val_loss", "density"):
        np.testing.assert_allclose(kept[figure], expected[figure], rtol=1e-3)
    assert {path.name for path in broken.iterdir()} == {path.name for path in whole.iterdir()}


@pytest.mark.slow
def test_hosts_that_do_not_fit_together_are_told_in_a_line(parent, tmp_path):
    alone = ("--distribute", "--coordinator=127.0.0.1:1", "--processes=2", "--process=1")
    lost = start_one("train.py", *flags(parent, tmp_path / "lost"), *alone, "--timeout=5")
    others = start(
        *(2, "train.py", *flags(parent, tmp_path / "others")), each=lambda i: [f"--seed={i}"]
    )
    (code, errors), *disagreeing = ended([lost, *others])
    assert code == 1
    assert "After 5 s not all hosts have met at 127.0.0.1:1: is host 0 running" in errors
    for code, errors in disagreeing:
        assert code == 1
        assert re.search(r"Host 1 \(\S+\) has another --seed than Host 0 \(\S+\), 1 and no", errors)
    assert not list(tmp_path.iterdir())
