"""A warning before the disk is full; jobs wait by themselves when it is."""

import shutil
from pathlib import Path

from kdharness.runtime.notify import Notifier
from kdharness.runtime.progress import Progress

LOW_BYTES = 512 << 20


class LowDisk:
    """Says and tells once when it is low, and again only after it had twice that free."""

    def __init__(self, root: Path, progress: Progress, notifier: Notifier) -> None:
        self._root = root
        self._progress = progress
        self._notifier = notifier
        self._is_low = False

    def look(self) -> None:
        """How much is free now."""
        try:
            free = shutil.disk_usage(self._root).free
        except OSError:
            return
        if free < LOW_BYTES and not self._is_low:
            text = f"disk low: {free / 2**20:.0f} MiB free in {self._root}"
            self._progress.say(f"{text}; `kdharness gc` names what is not needed", bad=True)
            self._notifier.tell("disk low", text, free_bytes=free, path=str(self._root))
        self._is_low = free < 2 * LOW_BYTES if self._is_low else free < LOW_BYTES
