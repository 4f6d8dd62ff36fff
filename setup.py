"""The compiled loops; all else about the package is in pyproject.toml."""

from setuptools import Extension, setup

FOLDER = "sklearn_einet/native/src"

setup(
    ext_modules=[
        Extension(
            "sklearn_einet.native._native",
            [f"{FOLDER}/module.c"],
            depends=[f"{FOLDER}/kernels.h", f"{FOLDER}/tiles.h", f"{FOLDER}/normal.h"],
            extra_compile_args=["-O3", "-fno-fast-math", "-fopenmp"],
            extra_link_args=["-fopenmp"],
            py_limited_api=True,
            # Without a compiler or an x86-64 processor, torch computes in their place.
            optional=True,
        )
    ]
)
