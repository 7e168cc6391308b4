"""The decoded images on the disk, however many want them at once. tests/datasets/test_cifar.py harms them."""

import subprocess
import sys

import numpy as np
import pytest

from kdharness.datasets.cache import cached

TWO_AT_ONCE = """
import sys, time
from pathlib import Path
import numpy as np
from kdharness.datasets.cache import cached

def decode():
    print("decoding", flush=True)
    time.sleep(0.3)
    return {"images": np.arange(6, dtype=np.uint8).reshape(2, 3)}

print("ready", flush=True)
sys.stdin.readline()
print(cached(Path(sys.argv[1]), {"images": ("uint8", (2, 3))}, decode)["images"].sum())
"""


def test_two_processes_at_once_decode_once(tmp_path):
    command = [sys.executable, "-c", TWO_AT_ONCE, str(tmp_path / "data" / "set")]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for one in both:
        assert one.stdout.readline() == "ready\n"
    for one in both:
        one.stdin.write("go\n")
        one.stdin.flush()
    said = sorted(one.communicate(timeout=60)[0].split() for one in both)
    assert said == [["15"], ["decoding", "15"]]


def test_nothing_is_left_of_a_decoding_that_fails_or_of_a_killed_writer(tmp_path):
    def fails():
        raise RuntimeError("broken")

    layout = {"images": ("uint8", (2,))}
    with pytest.raises(RuntimeError, match="broken"):
        cached(tmp_path / "set", layout, fails)
    (tmp_path / ".set.tmp").mkdir()
    (tmp_path / ".set.tmp" / "images.npy").write_text("half")
    images = cached(tmp_path / "set", layout, lambda: {"images": np.ones(2, np.uint8)})["images"]
    assert images.tolist() == [1, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".set.lock", "set"]
