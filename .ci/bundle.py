"""Collect the wheels that a machine with Python 3.12, torch, torchvision and numpy but no network still needs.

`make bundle` runs it; there: `pip install --no-index --find-links DIR kdharness`.
"""

import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HAVE = {"torch", "torchvision", "numpy"}
TARGET = {
    "python_version": "3.12",
    "python_full_version": "3.12.0",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
    "os_name": "posix",
    "extra": "",
}
GLIBC = ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_24_x86_64", "manylinux_2_17_x86_64"]
PLATFORMS = [*GLIBC, "manylinux2014_x86_64", "manylinux_2_12_x86_64", "manylinux_2_5_x86_64", "manylinux1_x86_64"]
LIMIT_MB = 40


def closure(name: str) -> set[str]:
    """All that `name` needs on the target, without what is there already."""
    found: set[str] = set()
    open_names = [name]
    while open_names:
        for need in map(Requirement, requires(open_names.pop()) or []):
            key = canonicalize_name(need.name)
            if key not in HAVE | found and (need.marker is None or need.marker.evaluate(TARGET)):
                found.add(key)
                open_names.append(key)
    return found


def main() -> None:
    root = Path(__file__).parent.parent
    target = root / "dist" / "bundle"
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("*.whl"):
        old.unlink()
    names = sorted(closure("kdharness"))
    pins = dict(line.split("==") for line in (root / "constraints.txt").read_text().split())
    pinned = {canonicalize_name(name): version for name, version in pins.items()}
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", target, root], check=True)
    where = ["--python-version", "3.12", "--implementation", "cp", *(f"--platform={p}" for p in PLATFORMS)]
    wheels = [f"{name}=={pinned[name]}" if name in pinned else name for name in names]
    subprocess.run(
        [*pip, "download", "--quiet", "--no-deps", "--only-binary=:all:", *where, "--dest", target, *wheels], check=True
    )
    size = sum(wheel.stat().st_size for wheel in target.glob("*.whl")) / 1e6
    sys.stdout.write(f"{len(names) + 1} wheels, {size:.1f} MB in {target.relative_to(root)}\n")
    if size > LIMIT_MB:
        sys.exit(f"the bundle is over {LIMIT_MB} MB")


if __name__ == "__main__":
    main()
