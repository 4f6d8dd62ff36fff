"""The compiled loops; all else about the package is in pyproject.toml."""

import os
import platform
import tempfile
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError

FOLDER = "sklearn_einet/native/src"

# Loops that straddle a line of the instruction cache are up to a tenth slower; which ones do would
# change with every edit. -ffp-contract=fast is the default of GCC, but not of clang.
FLAGS = ["-std=c++17", "-O3", "-fno-fast-math", "-fvisibility=hidden", "-Wno-psabi"]
FLAGS += ["-falign-loops=64"]
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
        openmp = ["-fopenmp"] if self.has_openmp() else []

        def compiled(name: str, source: str) -> list[str]:
            objects: list[str] = self.compiler.compile(
                [f"{FOLDER}/{source}"],
                output_dir=f"{self.build_temp}/{name}",
                macros=[("INSTRUCTION_SET", name)],
                extra_postargs=[*FLAGS, *KERNELS[source], *INSTRUCTION_SETS[name], *openmp],
                depends=ext.depends,
            )
            return objects

        # The slow ones first, on all cores.
        jobs = [(name, source) for source in KERNELS for name in INSTRUCTION_SETS]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for objects in pool.map(lambda job: compiled(*job), jobs):
                ext.extra_objects += objects
        ext.extra_link_args = openmp
        super().build_extension(ext)

    def has_openmp(self) -> bool:
        """Whether a program with OpenMP can be built; without, the loops have one thread."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.cpp")
            source.write_text(
                "#include <omp.h>\nint main() { return omp_get_max_threads() < 1; }\n"
            )
            try:
                objects = self.compiler.compile(
                    [str(source)], output_dir=folder, extra_postargs=["-fopenmp"]
                )
                self.compiler.link_executable(
                    objects, str(Path(folder, "probe")), extra_postargs=["-fopenmp"]
                )
            except CCompilerError:
                return False
        return True


setup(
    cmdclass={"build_ext": BuildKernels},
    ext_modules=[
        Extension(
            "sklearn_einet.native._native",
            [f"{FOLDER}/module.cpp", f"{FOLDER}/instructions.cpp"],
            depends=sorted(glob(f"{FOLDER}/*")),
            extra_compile_args=FLAGS,
            py_limited_api=True,
            # Without a compiler, torch computes in their place.
            optional=True,
        )
    ],
)
