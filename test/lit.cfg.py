"""The lit suites: dialects/, passes/ (llmc-opt on text) and compiler/ (the command line of llmc)."""

import ctypes
import os

import lit.formats

config.name = "llmc"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.llmc_build_dir, "test")
config.excludes = ["CMakeLists.txt"]

config.substitutions.append((r"(?<![-\w./])not(?= llmc)", config.llvm_not))
# The longest name first: a substitution also matches at the start of a longer word.
for name in ("llmc-opt", "llmc"):
    path = os.path.join(config.llmc_tools_dir, name)
    config.substitutions.append((r"(?<![-\w./%])" + name + r"(?![-\w./:])", path))
config.substitutions += [
    (r"(?<![-\w./])FileCheck(?![-\w.])", config.filecheck),
    ("%python", config.python),
    ("%example", os.path.join(config.llmc_source_dir, "examples", "tiny-fable")),
]

# One kernel cache for all tests of a build: a kernel is compiled once, and the user's own cache is left alone.
config.environment["LLMC_CACHE"] = os.path.join(config.test_exec_root, "kernel_cache")
for name in ("LLMC_NVRTC", "LD_LIBRARY_PATH"):
    if name in os.environ:
        config.environment[name] = os.environ[name]


def has_nvrtc():
    """CUDA targets compile only where NVRTC has been set up; such tests say REQUIRES: nvrtc."""
    library = "libnvrtc.so.12"
    folders = [os.environ.get("LLMC_NVRTC", ""), os.path.join(config.llmc_build_dir, "..", "deps", "nvrtc")]
    for folder in filter(None, folders):
        if os.path.isfile(folder) or any(os.path.exists(os.path.join(folder, sub, library)) for sub in ("", "lib")):
            return True
    try:
        ctypes.CDLL(library)
        return True
    except OSError:
        return False


if has_nvrtc():
    config.available_features.add("nvrtc")
