"""Where a result came from: the commit, the device and the versions that stood behind an attempt."""

import platform
import shutil
import subprocess
from pathlib import Path

import kdharness

_GIT_SECONDS = 5.0


def commit() -> str | None:
    """The commit checked out where kdharness stands, with `-dirty` for changed files; None outside of git."""
    folder = Path(kdharness.__file__).parent
    head = _git(folder, "rev-parse", "HEAD")
    if not head:
        return None
    return head + ("-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")


def versions() -> dict[str, str]:
    """Package name -> version, of what moves numbers."""
    import numpy
    import torch

    found = {
        "kdharness": kdharness.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }
    if torch.version.cuda is not None:
        found["cuda"] = torch.version.cuda
    return found


def device_name(device: str) -> str:
    """As a table's footnote names it: the GPU's product name, or the CPU's."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(torch.device(device))
    return f"cpu ({_cpu_name()})"


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _git(folder: Path, *arguments: str) -> str | None:
    """The command's output; None where there is no git, no repository or no answer in time."""
    program = shutil.which("git")
    if program is None:
        return None
    try:
        done = subprocess.run(
            (program, "-C", str(folder), *arguments), capture_output=True, text=True, timeout=_GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
