"""Denoising: a photo with Gaussian noise in, the photo out."""

from tf_lcnn.data import noisy_photos
from tf_lcnn.tasks.restoration import Restoration


class Denoising(Restoration):
    """The task of a network that takes noise out of photos."""

    name = "denoising"
    model = "dncnn_small_lcnn"
    flags = ("sigma", "patch_size", "patches", "test_dirs", "loss")
    before = "noisy"
    doubt = "of the noisy photos: is --sigma that of its training?"

    def photos(self, settings, how):
        if settings.sigma is not None:
            how["sigma"] = settings.sigma
        return noisy_photos.load(settings.data_dir, test_dirs=settings.test_dirs or (), **how)

    def describe(self, dataset):
        return {**super().describe(dataset), "sigma": dataset.sigma}
