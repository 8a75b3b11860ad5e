"""Builds the native delegate into the package; all else is in setup.cfg.

The delegate makes lookup layers fast and is not needed to run them: where no compiler is found the
package installs without it, and `tf_lcnn.runtime.native.available()` says so. With
TF_LCNN_DELEGATE=0 in the environment it is left out, and the wheel is for every system;
tools/wheels.py makes the wheels that have it.
"""

import os
import pathlib
import runpy
import shutil

import setuptools
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:
    # An older setuptools, in a checkout, builds the library in place, and no wheel.
    bdist_wheel = setuptools.Command

FOLDER = pathlib.Path("native/src")
# What users need of the checkout, beside the code; tf_lcnn/places.py finds it. Of the zoo the
# weights that were trained here: those of others are a download of their own.
SHIPPED = (
    *("LICENSE", "configs/*/*.cfg"),
    *("export/web/*.css", "export/web/*.html", "export/web/*.js", "export/web/*.svg"),
    *("zoo/README.md", "zoo/SHA256SUMS", "zoo/resnet20_cifar10.*"),
)


class BuildPackage(build_py):
    """Copies what is no code into the package; an editable install has it beside."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        for path in (path for pattern in SHIPPED for path in pathlib.Path().glob(pattern)):
            copy = pathlib.Path(self.build_lib, "tf_lcnn", "shipped", path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


class BuildLibrary(build_ext):
    """Builds a plain shared library where setuptools would build a Python module."""

    def get_ext_filename(self, ext_name):
        return str(pathlib.Path(*ext_name.split("."))) + ".so"

    def get_export_symbols(self, ext):
        return ext.export_symbols


class Wheel(bdist_wheel):
    """A wheel with a library that no Python is linked to: one for every Python."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


DELEGATE = setuptools.Extension(
    "tf_lcnn.runtime.liblcnn_delegate",
    sources=sorted(str(path) for path in FOLDER.glob("*.cpp")),
    depends=sorted(str(path) for path in FOLDER.glob("*.h")),
    include_dirs=[str(FOLDER)],
    # The package asks the library for it, and refuses one of other sources.
    define_macros=[("LCNN_SOURCES", f'"{runpy.run_path("native/sources.py")["digest"]()}"')],
    language="c++",
    extra_compile_args=["-std=c++17", "-O3", "-g0", "-fvisibility=hidden"],
    extra_link_args=["-lpthread"],
    optional=True,
)

setuptools.setup(
    ext_modules=[] if os.environ.get("TF_LCNN_DELEGATE") == "0" else [DELEGATE],
    cmdclass={"build_py": BuildPackage, "build_ext": BuildLibrary, "bdist_wheel": Wheel},
)
