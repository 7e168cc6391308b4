"""torch.compile of a run's student, where the execution asks for it: other kernels, other last bits."""

import importlib.util
import os
import shutil


def without_compiler(device: str) -> str:
    """Why torch.compile cannot work here; empty where it can."""
    if device == "cpu":
        named = os.environ.get("CXX", "")
        found = any(shutil.which(name) for name in (named, "g++", "clang++", "c++") if name)
        return "" if found else "no C++ compiler is found (g++, clang++ or CXX)"
    return "" if importlib.util.find_spec("triton") is not None else "Triton is not installed"
