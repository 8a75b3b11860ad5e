"""`tf-lcnn`: its commands, their help on one screen, one line for what is wrong."""

import keras
import numpy as np
import pytest
from PIL import Image
from support import processes
from support.helpers import chain

from tf_lcnn import LookupConv2D, profile
from tf_lcnn.commands import main
from tf_lcnn.models import pictures

# Lines and columns of a terminal.
SCREEN = 24, 80
START = "from tf_lcnn.commands import main; main.main()"


def ran(*arguments, code=START, **how):
    """(exit status, output, errors) of a process: commands have flags of equal names."""
    return outcome(processes.run(code, *arguments, **how))


def outcome(done):
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def model(tmp_path):
    keras.utils.set_random_seed(0)
    made = chain(
        (8, 8, 1),
        LookupConv2D(8, 3, dictionary_size=4),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(10),
    )
    made.save(tmp_path / "model.keras")
    return made


def test_every_command_has_help_that_fits_a_screen():
    for name in main.COMMANDS:
        status, out, errors = ran(name, "--help")
        assert (status, errors) == (0, ""), name
        lines = out.splitlines()
        assert len(lines) < SCREEN[0] and max(map(len, lines)) <= SCREEN[1], out
        assert lines[0].startswith(f"usage: tf-lcnn {name} ")
        assert lines[2] in main.overview()
        assert lines[-1] == "--helpfull has all flags."


def test_the_overview_names_all_commands_and_what_is_none_is_refused():
    nothing, asked, wrong, version = ran(), ran("--help"), ran("fly"), ran("--version")
    assert nothing == asked == (0, f"{main.overview()}\n", "")
    lines = main.overview().splitlines()
    assert max(map(len, lines)) <= SCREEN[1] and len(lines) < SCREEN[0]
    assert wrong == (1, "", f"tf-lcnn: 'fly' is no command: {', '.join(main.COMMANDS)}.\n")
    assert version[1].startswith("tf-lcnn 0.")


def test_profile_prints_the_table_of_a_file(model, tmp_path):
    # Not a notice of TensorFlow beside the table, where it is imported either.
    usual = outcome(processes.run_afresh("-c", START, "profile", tmp_path / "model.keras"))
    given = [
        [tmp_path / "model.keras", "--convention=padded"],
        [tmp_path / "none.keras"],
        [],
        [tmp_path / "model.keras", "--input_shape=big"],
    ]
    padded, missing, unnamed, shapeless = (ran("profile", *arguments) for arguments in given)
    assert usual == (0, f"{profile(model)}\n", "")
    assert padded == (0, f"{profile(model, convention='padded')}\n", "")
    for (status, out, errors), told in [
        (missing, "tf-lcnn profile: No model file"),
        (unnamed, "tf-lcnn profile: One .keras file is counted, and 0 are named."),
        (shapeless, "tf-lcnn profile: --input_shape=big: numbers like 224,224,3 work."),
    ]:
        assert (status, out) == (1, "") and errors.startswith(told) and errors.count("\n") == 1


def test_profile_draws_the_first_dictionary(tmp_path):
    first = LookupConv2D(8, 3, dictionary_size=4, name="first")
    made = chain((8, 8, 4), first, keras.layers.GlobalAveragePooling2D())
    made.save(tmp_path / "model.keras")
    chain((8, 8, 3), keras.layers.Conv2D(2, 3)).save(tmp_path / "dense.keras")
    lcnn, out = tmp_path / "model.keras", f"--dictionary={tmp_path / 'first.png'}"
    given = [
        [lcnn, out, "--mosaic=GBRG"],
        [lcnn, out],
        [lcnn, "--mosaic=RGGB"],
        [lcnn, f"--dictionary={tmp_path / 'first.gif'}", "--mosaic=RGGB"],
        [tmp_path / "dense.keras", out],
    ]
    drawn, *wrong = (ran("profile", *arguments) for arguments in given)
    assert drawn[0] == 0 and drawn[1].endswith("first.png\n"), drawn
    picture = np.asarray(Image.open(tmp_path / "first.png"))
    np.testing.assert_array_equal(picture, pictures.dictionary_image(first, "GBRG"))
    for (status, out, errors), told in zip(
        wrong,
        [
            "The dictionary of first has vectors of 4 numbers, and colors have 3",
            "--mosaic is for --dictionary, the picture to write.",
            f"--dictionary={tmp_path / 'first.gif'}: a name that ends in .png works.",
            "functional",
        ],
        strict=True,
    ):
        assert (status, out) == (1, "") and errors.count("\n") == 1
        assert errors.startswith(f"tf-lcnn profile: {told}"), errors


def test_compress_hands_on_what_it_is_given(model, tmp_path):
    images = np.random.default_rng(0).normal(size=(9, 8, 8, 1)).astype(np.float32)
    np.savez(tmp_path / "images.npz", images=images, labels=np.arange(9))
    stub = (
        "from tf_lcnn.pipeline import compressing\n"
        "def compress(model, images, speedup, *, budget, labels, folder):\n"
        "    return model.name, images.shape, speedup, budget, labels.tolist(), folder\n"
        "compressing.compress = compress\n"
    )
    command = ["compress", tmp_path / "model.keras", tmp_path / "images.npz"]
    whole = ran(*command, "--speedup=2", "--out=there", code=f"{stub}{START}")
    unnamed, wishless = ran(*command[:2]), ran(*command, folder=tmp_path)
    given = model.name, images.shape, 2.0, None, list(range(9)), "there"
    assert whole == (0, f"{given}\n", "")
    for (status, out, errors), told in [
        (unnamed, "tf-lcnn compress: Name a .keras file and a folder, .npy or .npz of images."),
        (wishless, "tf-lcnn compress: compress takes a speedup, a budget in milliseconds"),
    ]:
        assert (status, out) == (1, "") and errors.startswith(told) and errors.count("\n") == 1
