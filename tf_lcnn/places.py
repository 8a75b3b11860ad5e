"""Where the files lie that come with the project and are no code.

In a checkout they lie beside the package; a wheel has them inside (`setup.py` lists which).
"""

import pathlib

_PACKAGE = pathlib.Path(__file__).resolve().parent
_SHIPPED = _PACKAGE / "shipped"
# Inside first: beside an installed package lie the folders of others.
ROOT = _SHIPPED if _SHIPPED.is_dir() else _PACKAGE.parent
CONFIGS = ROOT / "configs"
PAGE = ROOT / "export" / "web"
ZOO = ROOT / "zoo"
LICENSE = ROOT / "LICENSE"
