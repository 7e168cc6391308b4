"""On which file system a path lies, and whether a database may: a pure function of /proc/self/mountinfo."""

import re
from dataclasses import dataclass
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")
_REFUSED = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p"})
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """Where a file system is mounted, and of which kind it is."""

    point: str
    kind: str

    @property
    def keeps_locks(self) -> bool:
        """Whether a lock that one process takes is surely seen by every other: not over a network, nor by FUSE."""
        return self.kind not in _REFUSED and not self.kind.startswith("fuse.")


def mount_of(path: Path, mountinfo: str) -> Mount | None:
    """The mount that an absolute, resolved path lies on; None where `mountinfo` names none."""
    target, best = str(path), None
    for line in mountinfo.splitlines():
        front, _, back = line.partition(" - ")
        fields, kind = front.split(), back.split()[:1]
        if len(fields) < 5 or not kind:
            continue
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])  # a space stands there as \040
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and (best is None or len(point) >= len(best.point)):  # of two on one point the later one hides
            best = Mount(point, kind[0])
    return best


def mounted_on(path: Path) -> Mount | None:
    """As `mount_of`, of this machine now; None where it does not say."""
    try:
        return mount_of(path.resolve(), MOUNTINFO.read_text(errors="surrogateescape"))
    except OSError:
        return None
