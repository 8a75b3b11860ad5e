"""Mosaics of photos and of raw files, against references in float64; bad input in one line."""

import sys
import types

import numpy as np
import pytest
from support.dng import dng

from tf_lcnn import checks
from tf_lcnn.data import bayer, patterns

# Where a tile of 2x2 has which color, as in the standard names.
PLACES = {
    "RGGB": ((0, 1), (1, 2)),
    "BGGR": ((2, 1), (1, 0)),
    "GRBG": ((1, 0), (2, 1)),
    "GBRG": ((1, 2), (0, 1)),
}


def photos(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def linear(srgb):
    """IEC 61966-2-1, of 0 to 1."""
    return srgb / 12.92 if srgb <= 0.04045 else ((srgb + 0.055) / 1.055) ** 2.4


def mosaic(photo, pattern):
    rows = [
        [linear(photo[y, x, PLACES[pattern][y % 2][x % 2]] / 255) for x in range(photo.shape[1])]
        for y in range(photo.shape[0])
    ]
    return np.array(rows)[..., None]


def interpolated(given, pattern):
    """Each color of each pixel: weighted by 4, 2 and 1, over those of 3x3 that have it."""
    height, width, _ = given.shape
    made = np.zeros((height, width, 3))
    for y, x, color in np.ndindex(made.shape):
        found, weights = 0.0, 0.0
        for i in range(max(0, y - 1), min(height, y + 2)):
            for j in range(max(0, x - 1), min(width, x + 2)):
                if PLACES[pattern][i % 2][j % 2] == color:
                    weight = (2 - abs(i - y)) * (2 - abs(j - x))
                    found, weights = found + weight * given[i, j, 0], weights + weight
        made[y, x, color] = found / weights
    return made


@pytest.mark.parametrize("pattern", patterns.PATTERNS)
def test_a_mosaic_has_the_linear_light_of_one_color_at_each_pixel(pattern):
    images = photos((2, 6, 8))
    found = bayer.bayer(images, pattern, shot=0, read=0)
    assert found.dtype == np.float32
    expected = [mosaic(photo, pattern) for photo in images]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(bayer.bayer(images[1], pattern, 0, 0), found[1])


def test_the_transfer_function_has_its_golden_numbers_and_is_undone():
    values = np.linspace(0, 1, 101, dtype=np.float32)
    light = bayer.linear(values).numpy()
    np.testing.assert_allclose(light[[4, 50, 100]], [0.04 / 12.92, 0.2140411, 1], rtol=1e-5)
    np.testing.assert_allclose(bayer.encoded(light), values, atol=1e-6)


def test_noise_has_the_variance_of_the_model_and_stays_for_a_seed():
    gray = np.full((400, 500, 3), 128, np.uint8)
    signal = linear(128 / 255)
    found = bayer.bayer(gray, shot=0.01, read=0.02, seed=3)
    # Of 200,000 numbers: three standard errors are 0.5 %.
    assert np.var(found) == pytest.approx(0.01 * signal + 0.02**2, rel=0.01)
    assert found.mean() == pytest.approx(signal, abs=5e-4)
    np.testing.assert_array_equal(bayer.bayer(gray, shot=0.01, read=0.02, seed=3), found)
    other = bayer.bayer(gray, shot=0.01, read=0.02, seed=4)
    assert abs(np.corrcoef(found.ravel(), other.ravel())[0, 1]) < 0.01
    black = bayer.bayer(gray * 0, read=0.1)
    assert black.min() == 0 and 0.4 < (black == 0).mean() < 0.6
    assert bayer.bayer(gray // 128 * 255, shot=0.1).max() == 1


@pytest.mark.parametrize("pattern", patterns.PATTERNS)
def test_bilinear_interpolation_is_that_of_each_color(pattern):
    given = np.random.default_rng(1).random((1, 6, 8, 1), np.float32)
    found = patterns.bilinear(given, pattern)
    np.testing.assert_allclose(found[0], interpolated(given[0], pattern), atol=1e-6)
    plain = np.full((1, 8, 6, 3), (200, 30, 90), np.uint8)
    back = patterns.bilinear(bayer.bayer(plain, pattern, 0, 0), pattern)
    np.testing.assert_allclose(bayer.encoded(back), plain / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("images", "how", "message"),
    [
        (photos((5, 8)), {}, "Photos of 5x8 do not divide into tiles of 2x2"),
        (photos((4, 7)), {}, "Photos of 4x7 do not divide"),
        (photos((4, 4)), {"pattern": "RGBG"}, "Unknown Bayer pattern 'RGBG': RGGB, BGGR, GRBG"),
        (photos((4, 4))[..., :1], {}, r"not uint8 \(4, 4, 1\). Gray photos have no colors"),
        (np.zeros((4, 4, 4), np.uint8), {}, r"color photos, .* not uint8 \(4, 4, 4\)"),
        (np.zeros((4, 4, 3)), {}, r"not float64 \(4, 4, 3\)"),
        (photos((4, 4)), {"shot": -0.1}, "shot noise must be a finite number >= 0, not -0.1"),
        (photos((4, 4)), {"read": float("nan")}, "read noise must be a finite number >= 0"),
        (photos((4, 4)), {"seed": 0.5}, "The seed must be a whole number"),
    ],
)
def test_what_is_no_photo_or_no_sensor_is_one_line(images, how, message):
    with pytest.raises(ValueError, match=message) as error:
        bayer.bayer(images, **how)
    assert "\n" not in str(error.value)


# Raw files


def counts(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 1100, shape, np.uint16)


@pytest.mark.parametrize("pattern", patterns.PATTERNS)
def test_a_dng_gives_its_mosaic_between_black_and_white(tmp_path, pattern):
    # The last row is beyond whole tiles.
    values = counts((65, 80))
    (tmp_path / "a.dng").write_bytes(dng(values, pattern, black=64, white=1023))
    found, told = bayer.read_dng(tmp_path / "a.dng")
    assert told == pattern and found.dtype == np.float32
    expected = np.clip((values[:64].astype(np.float64) - 64) / (1023 - 64), 0, 1)
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-6)


def test_what_is_no_raw_file_is_one_line(tmp_path):
    whole = dng(counts((64, 80)))
    for name, content in (("text.dng", b"no raw file"), ("cut.dng", whole[: len(whole) // 2])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is no raw file, or damaged") as error:
            bayer.read_dng(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"No raw file .*none.dng"):
        bayer.read_dng(tmp_path / "none.dng")


class Raw:
    """What rawpy gives of a file."""

    color_desc = b"RGBG"
    # Of each color; the second green has its own.
    black_level_per_channel = (10, 20, 30, 40)
    white_level = 130

    def __init__(self, tile, shape):
        self.raw_colors_visible = np.tile(np.array(tile), (2, 2))[: shape[0], : shape[1]]
        self.raw_image_visible = np.full(shape, 70, np.uint16)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture
def library(monkeypatch, tmp_path):
    """Puts a rawpy in place that reads this Raw."""

    def put(raw):
        made = types.SimpleNamespace(LibRawError=OSError, imread=lambda path: raw)
        monkeypatch.setitem(sys.modules, "rawpy", made)
        (tmp_path / "a.dng").write_bytes(b"")
        return tmp_path / "a.dng"

    return put


def test_each_color_has_its_own_black_level(library):
    found, pattern = bayer.read_dng(library(Raw([[0, 1], [3, 2]], (4, 4))))
    assert pattern == "RGGB"
    levels = [[60 / 120, 50 / 110], [30 / 90, 40 / 100]]
    np.testing.assert_allclose(found[..., 0], np.tile(levels, (2, 2)), rtol=1e-6)


def test_colors_that_are_no_bayer_mosaic_are_one_line(library):
    # Two columns of each color, and a tile that does not repeat.
    strange = Raw([[0, 1], [3, 2]], (4, 4))
    strange.raw_colors_visible = np.array([[0, 1, 1, 0]] * 2 + [[3, 2, 2, 3]] * 2)
    for raw in (Raw([[0, 1], [2, 1]], (4, 4)), strange):
        with pytest.raises(ValueError, match="has no Bayer mosaic of RGGB, BGGR"):
            bayer.read_dng(library(raw))


def test_without_rawpy_its_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(checks.MissingExtraError, match=r"Raw files need rawpy.*tf-lcnn\[raw\]"):
        bayer.read_dng(tmp_path / "a.dng")
