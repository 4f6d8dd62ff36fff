"""The compiled loops and the description; everything else is in pyproject.toml."""

import os
import platform
import re
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FOLDER = "sklearn_einet/native/src"

# Loops that straddle a line of the instruction cache are up to a tenth slower; which ones do would
# change with every edit. -ffp-contract=fast is the default of GCC, but not of clang.
FLAGS = ["-std=c++17", "-O3", "-fno-fast-math", "-fvisibility=hidden", "-Wno-psabi"]
FLAGS += ["-falign-loops=64", "-pthread"]
KERNELS = {"kernels.cpp": ["-ffp-contract=fast"], "unfused.cpp": ["-ffp-contract=off"]}
INSTRUCTION_SETS = {"generic": []}
if platform.machine().lower() in ("x86_64", "amd64"):
    INSTRUCTION_SETS["avx2"] = ["-mavx2", "-mfma"]
    INSTRUCTION_SETS["avx512"] = [
        *INSTRUCTION_SETS["avx2"],
        *["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mprefer-vector-width=512"],
    ]

# pip hides it (without -v); then the first fit says the same.
MISSING = """
*** sklearn-einet is built WITHOUT its compiled part: {error}
*** torch computes instead, which is slower. For the compiled part, install a C++ compiler
*** (gcc or clang), then install sklearn-einet again (pip: --force-reinstall --no-cache-dir).
"""


class BuildKernels(build_ext):
    """Compiles the kernels once for every instruction set, before the extension around them."""

    def build_extension(self, ext: Extension) -> None:
        try:
            self.build_kernels(ext)
        except Exception as error:
            print(MISSING.format(error=error), file=sys.stderr, flush=True)
            raise  # to setuptools, which goes on, as the extension is optional

    def build_kernels(self, ext: Extension) -> None:
        def compiled(name: str, source: str) -> list[str]:
            objects: list[str] = self.compiler.compile(
                [f"{FOLDER}/{source}"],
                output_dir=f"{self.build_temp}/{name}",
                macros=[("INSTRUCTION_SET", name)],
                extra_postargs=[*FLAGS, *KERNELS[source], *INSTRUCTION_SETS[name]],
                depends=ext.depends,
            )
            return objects

        # The slow ones first, on all cores.
        jobs = [(name, source) for source in KERNELS for name in INSTRUCTION_SETS]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for objects in pool.map(lambda job: compiled(*job), jobs):
                ext.extra_objects += objects
        super().build_extension(ext)


def description() -> str:
    """Return README with full addresses, as its relative links lead nowhere on other sites."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    repository = project["urls"]["Source"]
    text = Path("README.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\((?!https?:)", f"]({repository}/blob/main/", text)
    return text.replace('src="docs/', f'src="{repository}/raw/main/docs/')


setup(
    long_description=description(),
    long_description_content_type="text/markdown",
    cmdclass={"build_ext": BuildKernels},
    ext_modules=[
        Extension(
            "sklearn_einet.native._native",
            [f"{FOLDER}/{name}.cpp" for name in ("module", "instructions", "pool")],
            depends=sorted(glob(f"{FOLDER}/*")),
            extra_compile_args=FLAGS,
            extra_link_args=["-pthread"],
            py_limited_api=True,
            # Without a compiler, torch computes in their place.
            optional=True,
        )
    ],
)
