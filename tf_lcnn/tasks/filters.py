"""Learned filters: a photo in, the photo after a filter out, which is known by examples alone."""

from tf_lcnn.data import filtered_photos
from tf_lcnn.tasks.restoration import Restoration


class Filter(Restoration):
    """The task of a network that does what a filter does, like a bilateral one or a local tone."""

    name = "filter"
    model = "dncnn_small_lcnn"
    flags = ("target_dir", "patch_size", "patches", "loss")
    before = "unfiltered"
    doubt = "of photos that are not filtered: was it trained on such pairs?"

    def photos(self, settings, how):
        return filtered_photos.load(settings.data_dir, settings.target_dir, **how)
