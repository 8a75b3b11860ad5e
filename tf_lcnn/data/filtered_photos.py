"""Photos before and after a filter, in two folders: a network learns the filter from them."""

import dataclasses
import pathlib

from tf_lcnn import checks
from tf_lcnn.data import folders, photos


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilteredPhotos(photos.Photos):
    """Luma of photos, and of the same after a filter; payloads are pairs of paths."""

    worse = "filtered"

    def pair(self, payload):
        return self.decode(payload[0]), self.decode(payload[1])


def load(data_dir, target_dir, patch_size=40, draws=16):
    """Loads pairs of photos.

    Args:
        data_dir: a folder of photos, see `photos.load`.
        target_dir: a folder of the same photos after the filter, below it under the same paths;
            the end of their names may differ, as .png does from .jpg.
        patch_size: height and width of a patch.
        draws: random patches of each photo in an epoch.

    Raises:
        ValueError: a photo without a target, or with one of another size; or see `photos.load`.
        FileNotFoundError: there is no such folder.
    """
    checks.whole_number(patch_size, "The patch size", least=8)
    if target_dir is None:
        raise ValueError(
            "A filter is learned from two folders: --target_dir has the filtered photos."
        )
    for folder, what in ((data_dir, "data_dir"), (target_dir, "target_dir")):
        if folder is not None and not pathlib.Path(folder).is_dir():
            raise FileNotFoundError(f"--{what}={folder} is no folder: pairs lie in two folders.")
    before, after = (pathlib.Path(x or ".").resolve() for x in (data_dir, target_dir))

    def paired(found):
        targets = [_target(before, after, pathlib.Path(photo.payload)) for photo in found]
        sizes = folders.image_sizes(after, targets, targets, photos.luma)
        for photo, target, size in zip(found, targets, sizes, strict=True):
            if photo.size and size and photo.size != size:
                (a, b), (c, d) = photo.size, size
                raise ValueError(f"{photo.payload} is {a}x{b}, and its target {target} {c}x{d}.")
        return [
            dataclasses.replace(photo, payload=(photo.payload, target))
            for photo, target in zip(found, targets, strict=True)
        ]

    fields = photos.splits(data_dir, patch_size, draws, (), 16, "filters", paired)
    return FilteredPhotos(**fields)


def _target(before, after, path):
    """The path of a photo's target."""
    place = after / path.relative_to(before)
    if place.is_file():
        return str(place)
    others = [place.with_suffix(suffix) for suffix in folders.IMAGE_SUFFIXES]
    found = [str(other) for other in others if other.is_file()]
    if len(found) != 1:
        raise ValueError(f"{path} has {len(found) or 'no'} targets: {place} is looked for.")
    return found[0]
