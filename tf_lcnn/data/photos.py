"""Photos that a network returns improved: luma, made worse, and as it was.

Here are photos for super-resolution, and what all share. The field measures on Y of ITU-R BT.601
as Matlab's `rgb2ycbcr` gives it, on images cut to a multiple of the scale, made small by an
antialiased bicubic kernel (a = -0.5), as Matlab's `imresize` and Pillow have it;
`tf.image.resize` gives the same. A gray image is taken as it is.
"""

import dataclasses
import itertools
import pathlib

import keras
import numpy as np
import tensorflow as tf

from tf_lcnn import checks
from tf_lcnn.data import examples, folders
from tf_lcnn.data.records import Indexed

SCALES = (2, 3, 4)

# Of R, G and B from 0 to 1 in Y, Cb and Cr of BT.601, as Matlab's rgb2ycbcr has them.
YCBCR = ((65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214))
# Weights of R, G and B, 0 to 255, in Y, 16 to 235.
_LUMA = tuple(weight / 255 for weight in YCBCR[0])
_BLACK = 16.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Photos(examples.Examples):
    """Photos, of which a network is to find what was lost when they were made worse.

    Input and target are luma from 0 to 1, (height, width, 1), unless a kind of photos says
    otherwise. In training they are random patches; in evaluation whole photos, one to a batch. A
    kind of photos says what a `pair` is.

    Attributes:
        name: of the folder.
        patch_size: height and width of a patch of the target.
        draws: random patches of each photo in an epoch.
        test_names: label i of the test split is a photo of `test_names[i]`.
        titles: of the photos of the test split.
        first_shape: (height, width) of the first test photo's target.
        train, validation, test: the splits.
        decode: a payload -> float32 (height, width, channels), 0 to 1.
    """

    name: str
    patch_size: int
    draws: int
    test_names: tuple
    titles: tuple
    first_shape: tuple
    train: Indexed
    validation: Indexed
    test: Indexed
    decode: callable

    noun = "photos"
    sizes_differ = True
    # What an input is; channels of a target, and what they are.
    given = "luma"
    channels = 1
    colors = "luma"
    # What is done to them, for people.
    worse = ""

    @property
    def factor(self):
        """How many times as large the target is as the input."""
        return 1

    @property
    def factors(self):
        """Of the networks that this data is for."""
        return (1,)

    @property
    def example_shape(self):
        return (*(size // self.factor for size in self.first_shape), 1)

    @property
    def network(self):
        return {}

    def summary(self):
        size = self.patch_size
        return (
            f"{super().summary()}, {self.colors}, {self.worse}, {self.draws} patches of "
            f"{size}x{size} of each in an epoch"
        )

    def refuse_mismatch(self, model, name):
        shape = tuple(model.input_shape[1:])
        if len(shape) != 3 or shape[-1] not in (1, None):
            raise ValueError(f"{name} takes inputs {shape}: {self.given} has (height, width, 1).")
        if shape[:2] != (None, None):
            raise ValueError(
                f"{name} takes inputs {shape}: photos have many sizes, and need an open height "
                "and width (None)."
            )
        if self._factor_of(model) not in self.factors:
            before, after = _mapped(model, self.patch_size // max(self.factors))
            raise ValueError(f"{name} makes {after} of {before}: {self._wanted()}.")

    def _wanted(self):
        """What height and width a network is to give."""
        return "height and width are to stay"

    def _factor_of(self, model):
        (height, width, _), after = _mapped(model, self.patch_size // max(self.factors))
        same = len(after) == 3 and after[2] == self.channels
        same = same and after[0] * width == after[1] * height
        return after[0] / height if same else None

    def pair(self, payload):
        """(what was lost in part, the target), whole."""
        raise NotImplementedError

    def example(self, payload, label):
        return self.pair(payload)

    def drawn(self, payload, label, draw, augment):
        pair = self.pair(payload)

        def one(k):
            place = tf.stack([draw[0], draw[1] * self.draws + k])
            return self.patch(pair, place) if augment is None else augment(self, pair, place)

        if self.draws == 1:
            return one(tf.constant(0, draw.dtype))
        kinds = (tf.float32, tf.float32)
        return tf.map_fn(one, tf.range(self.draws, dtype=draw.dtype), fn_output_signature=kinds)

    def patch(self, pair, draw):
        """An input and its target: a patch of the same place of both.

        Args:
            pair: see `pair`.
            draw: two integers that seed the place.
        """
        given, sharp = pair
        size = self.patch_size // self.factor
        room = tf.cast(tf.shape(given)[:2] - size + 1, tf.float32)
        place = tf.cast(tf.random.stateless_uniform((2,), draw) * room, tf.int32)
        parts = []
        for image, times in ((given, 1), (sharp, self.factor)):
            top, left = place[0] * times, place[1] * times
            part = image[top : top + size * times, left : left + size * times]
            parts.append(tf.ensure_shape(part, (size * times, size * times, image.shape[-1])))
        return tuple(parts)

    def evaluation(self, split, batch_size):
        """See `examples.Examples`; a batch is one photo, for they have many sizes."""
        return super().evaluation(split, 1)

    def sample(self, split, count, seed=0):
        """Inputs of random patches of a split: float32 (count, size, size, 1)."""
        return self.patches(split, count, seed)[0]

    def patches(self, split, count, seed=0):
        """(inputs, targets): random patches of a split, of all its photos where they are many."""
        checks.whole_number(count, "The count of a sample")
        checks.whole_number(seed, "The seed", least=0)
        chosen = self.split(split).sample(count, seed)
        each = -(-count // len(chosen))

        def drawn(i, payload, label):
            pair = self.pair(payload)
            places = tf.stack([tf.fill([each], i), seed * each + tf.range(each, dtype=i.dtype)], 1)
            kinds = (tf.float32, tf.float32)
            return tf.map_fn(lambda x: self.patch(pair, x), places, fn_output_signature=kinds)

        batches = chosen.records().map(drawn, num_parallel_calls=tf.data.AUTOTUNE)
        parts = zip(*batches.as_numpy_iterator(), strict=True)
        return tuple(np.concatenate(part)[:count] for part in parts)

    def of_one_size(self, split):
        """See `examples.Examples`: a patch of each photo of a split."""
        return self.patches(split, len(self.split(split)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmallPhotos(Photos):
    """Photos that were made small: an input is the small one, or that enlarged again.

    Attributes:
        scale: how many times as large the target is.
        enlarged: whether inputs are enlarged again by bicubic interpolation.
    """

    scale: int
    enlarged: bool = False

    @property
    def worse(self):
        return f"{self.scale} times as large"

    @property
    def factor(self):
        return 1 if self.enlarged else self.scale

    @property
    def factors(self):
        return 1, self.scale

    @property
    def network(self):
        return {"scale": self.scale}

    def taken_by(self, model):
        return dataclasses.replace(self, enlarged=self._factor_of(model) == 1)

    def _wanted(self):
        return (
            f"for --scale={self.scale} height and width become {self.scale} times as large, or "
            "stay, for photos that were enlarged"
        )

    def pair(self, payload):
        sharp = self.decode(payload)
        size = tf.shape(sharp)[:2] // self.scale * self.scale
        sharp = sharp[: size[0], : size[1]]
        given = shrunk(sharp, self.scale)
        return (enlarged(given, self.scale) if self.enlarged else given), sharp


def _mapped(model, size):
    """(shape of an input, shape of its output), without the batch."""
    shape = (size, size, 1)
    output = model.compute_output_spec(keras.KerasTensor((1, *shape)))
    return shape, tuple(output.shape[1:])


def load(data_dir, scale=2, patch_size=None, draws=16, test_dirs=()):
    """Loads photos.

    Args:
        data_dir: a folder, or a zip file of one, of photos, in folders or not. Those in folders
            train, val or validation, and test are these splits; what is missing is held out.
        scale: how many times as large the network is to make a photo, see `SCALES`.
        patch_size: height and width of a patch of the large photo; None takes 48 times the scale.
        draws: random patches of each photo in an epoch.
        test_dirs: folders or zip files of test photos, each told for itself.

    Raises:
        ValueError: unknown scale, a patch that is no multiple of it or that a photo is too small
            for, a folder without photos, or a broken one.
        FileNotFoundError: there is no such folder.
    """
    if scale not in SCALES:
        raise ValueError(f"Unknown scale {scale!r}: {', '.join(map(str, SCALES))}.")
    patch_size = 48 * scale if patch_size is None else patch_size
    checks.whole_number(patch_size, "The patch size", least=8 * scale)
    if patch_size % scale:
        raise ValueError(f"The patch size {patch_size} is no multiple of the scale {scale}.")
    fields = splits(data_dir, patch_size, draws, test_dirs, 16 * scale, f"--scale={scale}")
    fields["first_shape"] = tuple(size // scale * scale for size in fields["first_shape"])
    return SmallPhotos(scale=scale, **fields)


def splits(
    data_dir,
    patch_size,
    draws,
    test_dirs,
    least,
    wanted,
    completed=lambda photos: photos,
    decode=None,
):
    """The attributes of a `Photos`, of the photos in folders or zip files.

    Args:
        data_dir, patch_size, draws, test_dirs: see `load`.
        least: height and width that a test photo has at least.
        wanted: what needs them, for messages.
        completed: a list of photos -> that as it is used.
        decode: a payload -> the photo as it is used; None takes `luma`.

    Raises:
        ValueError, FileNotFoundError: see `load`; or a photo that `decode` leaves gray.
    """
    decode = decode or luma
    checks.whole_number(draws, "The patches of a photo")
    found = {split: completed(photos) for split, photos in _found(data_dir, decode).items()}
    if "train" not in found:
        raise ValueError(f"{data_dir} holds no training photos, only {', '.join(found)}.")
    test_names, sets = ("test",), [found.pop("test", [])]
    if test_dirs:
        test_names = tuple(pathlib.Path(folder).stem for folder in test_dirs)
        sets = [list(itertools.chain(*_found(folder, decode).values())) for folder in test_dirs]
    for split, photos in found.items():
        _refuse_small(photos, patch_size, f"patches of {patch_size}x{patch_size}", split)
    for photos in sets:
        # Enough is left when the border is cut off.
        _refuse_small(photos, least, wanted, "test")
    parts = {split: _indexed(photos) for split, photos in found.items()}
    tested = [(i, photo) for i, photos in enumerate(sets) for photo in photos]
    if tested:
        labels = np.array([i for i, _ in tested], np.int64)
        parts["test"] = _indexed([photo for _, photo in tested], labels)
    parts = examples.hold_out(parts, "photos")
    by_payload = {photo.payload: photo for photo in itertools.chain(*found.values(), *sets)}
    shown = [by_payload[key(payload)] for payload in parts["test"].payloads]
    height, width, _ = decode(first(shown[0].payload)).shape
    return {
        **{"name": pathlib.Path(data_dir).stem, "patch_size": patch_size, "draws": draws},
        **{"test_names": test_names, "titles": tuple(photo.title for photo in shown)},
        **{"first_shape": (height, width), "decode": decode, **parts},
    }


def first(payload):
    """The photo itself, of a payload that may have its target beside it."""
    return payload if isinstance(payload, (str, bytes)) else payload[0]


def key(payload):
    return payload if isinstance(payload, (str, bytes)) else tuple(payload)


@dataclasses.dataclass(frozen=True)
class _Photo:
    """`payload`: its whole path, or its bytes in a zip file; `size` is None where not looked at.

    Where a target lies beside the photo, the payload is a pair.
    """

    title: str
    payload: str | bytes | tuple
    size: tuple | None


def _found(data_dir, decode):
    """split -> [_Photo] of a folder or zip file."""
    kinds = ", ".join(folders.IMAGE_SUFFIXES)
    wanted = f"photos take a folder of images ({kinds})"
    paths, _, read, in_files = folders.listing(data_dir, "photos", wanted)
    images = [path for path in paths if path.suffix.lower() in folders.IMAGE_SUFFIXES]
    if not images:
        raise ValueError(f"{data_dir} holds no images ({kinds}).")
    whole = pathlib.Path(data_dir).resolve()
    payloads = [str(whole / path) if in_files else read(path) for path in images]
    shapes = folders.image_shapes(data_dir, images, payloads, decode)
    found = {}
    for path, payload, shape in zip(images, payloads, shapes, strict=True):
        if decode is color and shape and shape[2] != 3:
            raise ValueError(f"{path} in {data_dir} is gray: color photos are taken here.")
        splits = [folders.SPLIT_FOLDERS[x] for x in path.parts[:-1] if x in folders.SPLIT_FOLDERS]
        photo = _Photo(path.stem, payload, shape and shape[:2])
        found.setdefault(splits[0] if splits else "train", []).append(photo)
    return found


def _refuse_small(photos, least, wanted, split):
    small = [photo for photo in photos if photo.size and min(photo.size) < least]
    if small:
        height, width = small[0].size
        raise ValueError(
            f"The {split} photo {small[0].title} is {height}x{width}, too small for {wanted} "
            f"({len(small)} such of {len(photos)}): {least}x{least} is the least."
        )


def _indexed(photos, labels=None):
    labels = np.zeros(len(photos), np.int64) if labels is None else labels
    given = [photo.payload for photo in photos]
    payloads = np.empty((len(photos), 2) if isinstance(given[0], tuple) else len(photos), object)
    payloads[:] = given
    return Indexed(payloads, labels)


# Pixels


def luma(payload):
    """Y of ITU-R BT.601, float32 (height, width, 1), over 255, of a path or an encoded image.

    A gray image is taken as it is.
    """
    return luma_of(_decoded(payload))


def color(payload):
    """Red, green and blue in sRGB, float32 (height, width, 3), 0 to 1, of such a payload.

    A gray image has one channel.
    """
    return tf.cast(_decoded(payload)[..., :3], tf.float32) / 255.0


def _decoded(payload):
    payload = tf.convert_to_tensor(payload)
    return tf.io.decode_image(_bytes(payload), expand_animations=False)


def _bytes(payload):
    # Encoded images begin with bytes that no whole path does.
    start = tf.strings.substr(payload, 0, 2)
    encoded = tf.reduce_any(tf.equal(start, [b"\xff\xd8", b"\x89P", b"BM", b"GI"]))
    return tf.cond(encoded, lambda: payload, lambda: tf.io.read_file(payload))


def luma_of(image):
    """Luma of a uint8 image (height, width, 1 to 4), as `luma` gives it."""
    pixels = tf.cast(image, tf.float32)

    def of_color():
        return _BLACK + tf.tensordot(pixels[..., :3], tf.constant(_LUMA), 1)[..., None]

    color = tf.shape(image)[-1] >= 3
    y = tf.cond(color, of_color, lambda: pixels[..., :1])
    return tf.ensure_shape(y / 255.0, (None, None, 1))


def shrunk(image, scale):
    """An image (height, width, channels), multiples of the scale, so many times as small."""
    return _resized(image, tf.shape(image)[:2] // scale)


def enlarged(image, scale):
    """An image (height, width, channels), so many times as large by bicubic interpolation."""
    return _resized(image, tf.shape(image)[:2] * scale)


def _resized(image, size):
    return tf.image.resize(image, size, tf.image.ResizeMethod.BICUBIC, antialias=True)
