"""Demosaicing: a Bayer mosaic with a sensor's noise in, the photo in sRGB out.

PSNR is over all three colors; what it is compared with is bilinear interpolation of linear light.
"""

from tf_lcnn.data import bayer, mosaics, patterns
from tf_lcnn.tasks.restoration import Restoration


class Demosaicing(Restoration):
    """The task of a network that makes photos of what a sensor sees."""

    name = networks = "demosaicing"
    model = "demosaic_lcnn"
    flags = ("mosaic", "shot", "read", "patch_size", "patches", "test_dirs", "loss")
    before = "bilinear"
    doubt = "of bilinear interpolation: is --mosaic the pattern of its training?"

    def photos(self, settings, how):
        test_dirs = settings.test_dirs or ()
        return mosaics.load(settings.data_dir, settings.sensor, test_dirs=test_dirs, **how)

    def augment(self, dataset, pair, draw):
        """See `Restoration`: the mosaic is of the patch as it is turned."""
        _, sharp = super().augment(dataset, pair, draw)
        return dataset.made(sharp, draw), sharp

    def unimproved(self, dataset, given):
        light = patterns.bilinear(bayer.linear(given)[None], dataset.sensor.pattern)
        return bayer.encoded(light)[0].numpy()

    def describe(self, dataset):
        sensor = dataset.sensor
        about = {"input": sensor.describe(), "shot": sensor.shot, "read": sensor.read}
        return {**super().describe(dataset), **about}
