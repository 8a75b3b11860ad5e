"""Trains an LCNN, or its dense twin, down to a checked .tflite.

    python train.py --flagfile=resnet_lcnn.cfg

It is `tf-lcnn train`: the story is in tf_lcnn/commands/train.py, and imported this is that module.
"""

import sys

from tf_lcnn.commands import train

if __name__ == "__main__":
    train.start()
else:
    sys.modules[__name__] = train
