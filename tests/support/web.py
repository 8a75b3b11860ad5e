"""export/web.py as a module: `export` is a folder of programs, and no package."""

import importlib.util
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]

_spec = importlib.util.spec_from_file_location("web_program", ROOT / "export" / "web.py")
program = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(program)
