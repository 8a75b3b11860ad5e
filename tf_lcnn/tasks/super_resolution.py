"""Super-resolution: a small photo in, or that enlarged by bicubic interpolation; a large one out.

As the field measures it, `scale` pixels are cut off at every border.
"""

from tf_lcnn.data import photos
from tf_lcnn.tasks.restoration import Restoration


class SuperResolution(Restoration):
    """The task of a network that makes photos larger.

    Args:
        scale: how many times.
        loss: see `Restoration`.
    """

    name = "super_resolution"
    networks = "super_resolution"
    model = "espcn"
    flags = ("scale", "patch_size", "patches", "test_dirs", "loss")
    before = "bicubic"

    def __init__(self, scale, loss="l1"):
        super().__init__(loss)
        self.scale = self.border = scale

    @classmethod
    def of_run(cls, settings):
        return cls(2 if settings.scale is None else settings.scale, settings.loss)

    def photos(self, settings, how):
        return photos.load(settings.data_dir, self.scale, test_dirs=settings.test_dirs or (), **how)

    def unimproved(self, dataset, given):
        return given if dataset.enlarged else photos.enlarged(given, self.scale)

    @property
    def doubt(self):
        return f"of bicubic interpolation: is --scale ({self.scale}) that of its training?"

    def describe(self, dataset):
        about = super().describe(dataset)
        about["input"]["enlarged"] = dataset.enlarged
        return {**about, "scale": self.scale}
