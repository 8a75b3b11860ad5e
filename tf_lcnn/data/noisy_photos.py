"""Photos for denoising: luma with Gaussian noise, and as it was.

As the field has it (Zhang et al., "Beyond a Gaussian Denoiser", IEEE TIP 2017): white noise of a
standard deviation of pixels 0 to 255, which is added to luma from 0 to 1 and not clipped.
"""

import dataclasses

import tensorflow as tf

from tf_lcnn import checks
from tf_lcnn.data import photos


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoisyPhotos(photos.Photos):
    """Photos with noise. That of a photo in evaluation is always the same.

    Attributes:
        sigma: its standard deviation, of pixels 0 to 255.
    """

    sigma: float

    @property
    def worse(self):
        return f"noise of sigma {self.sigma:g}"

    def pair(self, payload):
        sharp = self.decode(payload)
        return sharp, sharp

    def example(self, payload, label):
        sharp, _ = self.pair(payload)
        # The photo itself says what is drawn: neither its name nor its place does.
        of_photo = tf.strings.to_hash_bucket_fast(tf.io.serialize_tensor(sharp), 1 << 30)
        return self.noisy(sharp, tf.stack([of_photo, 0])), sharp

    def patch(self, pair, draw):
        _, sharp = super().patch(pair, draw)
        # Another seed than that of the place.
        return self.noisy(sharp, draw + 2), sharp

    def noisy(self, image, draw):
        """An image with noise that two integers seed."""
        return image + self.sigma / 255 * tf.random.stateless_normal(tf.shape(image), draw)


def load(data_dir, sigma=25, patch_size=40, draws=16, test_dirs=()):
    """Loads photos for denoising.

    Args:
        sigma: standard deviation of the noise, of pixels 0 to 255.
        patch_size: height and width of a patch.
        data_dir, draws, test_dirs: see `photos.load`.

    Raises:
        ValueError: a sigma that is not above 0, a patch that a photo is too small for, a folder
            without photos, or a broken one.
        FileNotFoundError: there is no such folder.
    """
    sigma = checks.number(sigma, "sigma", above=0)
    checks.whole_number(patch_size, "The patch size", least=8)
    fields = photos.splits(data_dir, patch_size, draws, test_dirs, 16, "denoising")
    return NoisyPhotos(sigma=sigma, **fields)
