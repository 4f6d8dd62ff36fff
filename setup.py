"""The compiled loops; all else about the package is in pyproject.toml."""

import os
import platform
from concurrent.futures import ThreadPoolExecutor
from glob import glob

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


class BuildKernels(build_ext):
    """Compiles the kernels once for every instruction set, before the extension around them."""

    def build_extension(self, ext: Extension) -> None:
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


setup(
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
