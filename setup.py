"""Builds the native delegate into the package; all else is in setup.cfg.

The delegate makes lookup layers fast and is not needed to run them: where no compiler is found the
package installs without it, and `tf_lcnn.runtime.native.available()` says so.
"""

import pathlib
import runpy

import setuptools
from setuptools.command.build_ext import build_ext

FOLDER = pathlib.Path("native/src")


class BuildLibrary(build_ext):
    """Builds a plain shared library where setuptools would build a Python module."""

    def get_ext_filename(self, ext_name):
        return str(pathlib.Path(*ext_name.split("."))) + ".so"

    def get_export_symbols(self, ext):
        return ext.export_symbols


setuptools.setup(
    ext_modules=[
        setuptools.Extension(
            "tf_lcnn.runtime.liblcnn_delegate",
            sources=sorted(str(path) for path in FOLDER.glob("*.cpp")),
            depends=sorted(str(path) for path in FOLDER.glob("*.h")),
            include_dirs=[str(FOLDER)],
            # The package asks the library for it, and refuses one of other sources.
            define_macros=[
                ("LCNN_SOURCES", f'"{runpy.run_path("native/sources.py")["digest"]()}"')
            ],
            language="c++",
            extra_compile_args=["-std=c++17", "-O3", "-g0", "-fvisibility=hidden"],
            extra_link_args=["-lpthread"],
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildLibrary},
)
