"""The table on disk: what is written is read, what is damaged is noticed, what is too much is evicted."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kdharness.core.errors import BadInput
from kdharness.core.keys import canonical
from kdharness.core.records import Numerics
from kdharness.training import logit_table
from kdharness.training.logit_table import TILE, LogitTable, TableKey
from kdharness.training.table_shelf import TableShelf, limit_bytes

ENTRIES, WIDTH = 1000, 5
BLOCK = 8 + TILE * 8 + TILE * WIDTH * 4
KEY = TableKey(
    models=("resnet14 1",),
    weights_sha256=("a" * 64,),
    fingerprint="pictures",
    augment="shift1",
    views=9,
    normalization="dataset",
    image_size=None,
    teacher_image_size=None,
    precision="fp32",
    pooled=False,
    numerics=Numerics(device_kind="cpu", threads=1, layout="channels_last", torch="2", torch_cuda=None, numpy="2"),
)


def table(folder: Path) -> LogitTable:
    folder.mkdir(exist_ok=True)
    return LogitTable(folder, KEY, ENTRIES, WIDTH, "f4")


def rows(entries: npt.ArrayLike) -> npt.NDArray[Any]:
    return (np.asarray(entries)[:, None] * 10 + np.arange(WIDTH)).astype(np.float32)


def some(count: int, start: int = 0) -> npt.NDArray[np.int64]:
    """That many entries, in no order."""
    return np.random.default_rng(start).permutation(np.arange(start, start + count))


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 4
    path.write_bytes(data)


def test_what_one_writes_the_other_reads(tmp_path: Path) -> None:
    writer, reader = table(tmp_path), table(tmp_path)
    everything = np.arange(ENTRIES)
    assert not reader.read(everything)[0].any()
    assert writer.add(some(64), rows(some(64))) and writer.add(some(100, 500), rows(some(100, 500)))
    found, read = reader.read(everything)
    expected = np.concatenate((np.arange(64), np.arange(500, 600)))
    assert np.flatnonzero(found).tolist() == expected.tolist() and reader.filled == 164
    assert np.array_equal(read[found], rows(expected)) and not read[~found].any()
    assert reader.missing(0, 520).tolist() == list(range(64, 500))
    assert table(tmp_path).read(expected)[0].all()
    assert os.stat(tmp_path / "blocks").st_size == 3 * BLOCK  # it grows as it is filled
    assert json.loads((tmp_path / "table.json").read_bytes()) == canonical(KEY)


def test_two_writers_of_the_same_entries_write_them_once(tmp_path: Path) -> None:
    one, other = table(tmp_path), table(tmp_path)
    assert one.add(some(64), rows(some(64)))
    assert other.add(some(128), rows(some(128)))
    assert os.stat(tmp_path / "blocks").st_size == 2 * BLOCK
    found, read = one.read(np.arange(128))
    assert found.all() and np.array_equal(read, rows(np.arange(128)))


@pytest.mark.parametrize("offset", [0, 8, 100, 520, BLOCK - 1])
def test_a_flipped_bit_is_noticed_and_its_block_filled_again(
    offset: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert table(tmp_path).add(np.arange(192), rows(np.arange(192)))
    flip(tmp_path / "blocks", BLOCK + offset)
    damaged = table(tmp_path)
    found, read = damaged.read(np.arange(192))
    assert np.flatnonzero(~found).tolist() == list(range(64, 128))
    assert np.array_equal(read[found], rows(np.arange(192))[found])
    assert "block 1 is damaged, its 64 entries are computed again" in caplog.text
    assert damaged.missing(0, 192).tolist() == list(range(64, 128))
    assert damaged.add(np.arange(64, 128), rows(np.arange(64, 128)))
    for each in (damaged, table(tmp_path)):
        found, read = each.read(np.arange(192))
        assert found.all() and np.array_equal(read, rows(np.arange(192)))


@pytest.mark.parametrize("place", [70, -3, 2**30])
def test_a_damaged_index_answers_with_no_others_row(
    place: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert table(tmp_path).add(np.arange(128), rows(np.arange(128)))
    index = np.fromfile(tmp_path / "index", "<i4")
    index[5] = place
    index.tofile(tmp_path / "index")
    damaged = table(tmp_path)
    assert np.flatnonzero(~damaged.read(np.arange(128))[0]).tolist() == [5]
    assert damaged.add(np.array([5]), rows([5]))
    assert np.array_equal(damaged.read(np.array([5]))[1], rows([5]))
    assert ("damaged" in caplog.text) == (place > 0)


def test_what_a_killed_writer_leaves_half_written_is_no_row(tmp_path: Path) -> None:
    """Killed in the middle of a block, and between a block and its index."""
    whole = table(tmp_path)
    assert whole.add(np.arange(64), rows(np.arange(64)))
    with (tmp_path / "blocks").open("ab") as blocks:
        blocks.write(b"\1" * (BLOCK + 100))
    found, _ = table(tmp_path).read(np.arange(ENTRIES))
    assert np.flatnonzero(found).tolist() == list(range(64))
    assert whole.add(np.arange(64, 128), rows(np.arange(64, 128)))
    assert os.stat(tmp_path / "blocks").st_size == 4 * BLOCK
    assert np.array_equal(table(tmp_path).read(np.arange(128))[1], rows(np.arange(128)))


def test_a_row_is_durable_before_its_bit_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    this, written, order = table(tmp_path), os.pwrite, list[str | int]()
    monkeypatch.setattr(os, "fdatasync", lambda file: order.append("durable"))
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: order.append(len(data)) or written(file, data, at))  # type: ignore[func-returns-value]
    assert this.add(np.arange(3), rows(np.arange(3)))
    assert order == [BLOCK, "durable", 4, 4, 4]


def test_a_full_disk_stops_the_table_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    this = table(tmp_path)
    assert this.add(np.arange(64), rows(np.arange(64)))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert not this.add(np.arange(64, 128), rows(np.arange(64, 128)))
    assert not this.takes_more and "No space left on device" in caplog.text
    assert this.read(np.arange(128))[0].sum() == 64


def test_a_stopped_writer_is_not_waited_for_forever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logit_table, "LOCK_SECONDS", 0.01)
    one, other = table(tmp_path), table(tmp_path)
    assert one._locked()
    assert not other.add(np.arange(2), rows(np.arange(2)))
    assert other.takes_more


def shelf(root: Path, limit: int = 10**9, free_bytes: int = 0) -> TableShelf:
    return TableShelf(root, limit, free_bytes)


def keys(count: int) -> list[TableKey]:
    return [KEY.model_copy(update={"fingerprint": f"{number}"}) for number in range(count)]


def opened(on: TableShelf, key: TableKey) -> LogitTable:
    found = on.open(key, ENTRIES, WIDTH, "f4")
    assert found is not None
    return found


def test_the_least_recently_used_table_is_evicted_and_none_in_use(tmp_path: Path) -> None:
    for age, key in enumerate(keys(3)):
        before = shelf(tmp_path)
        assert opened(before, key).add(np.arange(320), rows(np.arange(320)))
        before.close()
        os.utime(tmp_path / key.name / "used", (1000 + age, 1000 + age))
    used = shelf(tmp_path)
    opened(used, keys(3)[0])
    os.utime(tmp_path / keys(3)[0].name / "used", (1000, 1000))
    size = sum(one.bytes for one in used.tables())
    small = shelf(tmp_path, limit=size)
    new = opened(small, KEY)
    assert new.add(np.arange(64), rows(np.arange(64)))
    assert {one.folder.name for one in small.tables()} == {keys(3)[0].name, keys(3)[2].name, KEY.name}
    assert opened(small, keys(3)[0]).read(np.arange(320))[0].all()

    tight = shelf(tmp_path, limit=1)
    assert not opened(tight, KEY).add(np.arange(64, 128), rows(np.arange(64, 128)))
    assert {one.folder.name for one in tight.tables()} == {keys(3)[0].name, KEY.name}  # the rest is in use


def test_a_table_evicted_while_it_is_opened_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shelf(tmp_path)
    opened(before, KEY)
    before.close()
    lock, evicted = fcntl.flock, list[bool]()

    def slow(file: int, how: int) -> None:
        if how == fcntl.LOCK_SH and not evicted:
            evicted.append(shelf(tmp_path).evict(before.tables()[0]))
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    now = shelf(tmp_path)
    assert opened(now, KEY).add(np.arange(3), rows(np.arange(3))) and evicted == [True]
    assert len(now.tables()) == 1


def test_the_disk_keeps_a_part_free(tmp_path: Path) -> None:
    assert not opened(shelf(tmp_path, free_bytes=1 << 60), KEY).add(np.arange(3), rows(np.arange(3)))


def test_an_unwritable_place_means_no_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    assert shelf(tmp_path / "file").open(KEY, ENTRIES, WIDTH, "f4") is None
    assert "no table of the teacher's logits" in caplog.text
    assert shelf(tmp_path, limit=0).open(KEY, ENTRIES, WIDTH, "f4") is None


def test_the_limit_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KDHARNESS_TABLES_GB", raising=False)
    assert limit_bytes() == 20 * 10**9
    monkeypatch.setenv("KDHARNESS_TABLES_GB", "0.5")
    assert limit_bytes() == 5 * 10**8
    for wrong in ("much", "-1", "inf", "nan"):
        monkeypatch.setenv("KDHARNESS_TABLES_GB", wrong)
        with pytest.raises(BadInput, match="KDHARNESS_TABLES_GB is"):
            limit_bytes()
