"""The command `web`, and the checkout that its page lies in."""

import pathlib

from tf_lcnn.commands import web as program

__all__ = ["ROOT", "program"]

ROOT = pathlib.Path(__file__).resolve().parents[2]
