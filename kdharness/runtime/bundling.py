"""A study's results as one file that others can check: its rows, its texts, its tables, the hashes of all of them."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

import kdharness
from kdharness.core.errors import BadInput
from kdharness.core.home import Home
from kdharness.reporting.manifest import manifest
from kdharness.reporting.render import render
from kdharness.results.store import Store
from kdharness.runtime.bundle_file import DATABASE, PRINTED, STUDY_TEXT, TABLES, write_bundle
from kdharness.runtime.reports import study_tables
from kdharness.training.files import put_in_place, refusals


@dataclass(frozen=True)
class Bundled:
    """What was written."""

    path: Path
    sha256: str
    bytes: int
    runs: int
    cells: int


def make_bundle(home: Home, study: str, target: Path) -> Bundled:
    """Write the bundle of the study; the tables in it are made from the rows in it.

    Raises BadInput where there is a file already or no table can be made, Unavailable where the disk refuses.
    """
    if target.exists():
        raise BadInput(f"{target} exists already", remedy="name another file: a bundle is never overwritten")
    if not target.parent.is_dir():
        raise BadInput(f"there is no directory {target.parent}", remedy="make it first, or name another file")
    store = Store(home)
    store.study(study)
    with refusals(target), tempfile.TemporaryDirectory(prefix=".bundle-", dir=target.parent) as folder:
        inside = Home(Path(folder))
        store.extract(study, inside.results)
        store.close()
        if home.published.is_dir():
            shutil.copytree(home.published, inside.published)
        rows = Store(inside, read_only=True)
        tables = study_tables(rows, [study])
        digests = rows.digests(study)
        members: dict[str, Path | bytes] = {
            STUDY_TEXT.format(number=text.number): text.text.encode() for text in rows.texts(study)
        }
        rows.close()
        members[TABLES] = render(tables, "json").encode()
        if inside.published.is_dir():
            members |= {f"{PRINTED}{path.name}": path.read_bytes() for path in sorted(inside.published.iterdir())}
        members[DATABASE] = inside.results
        said = {"kdharness": kdharness.__version__, "study": study, **manifest(tables, digests)}
        beside = inside.root / "bundle"
        with beside.open("w+b") as file:
            write_bundle(file, members, said)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            digest = file_digest(file, "sha256").hexdigest()
        put_in_place(beside, target)
    return Bundled(target, digest, target.stat().st_size, len(digests), sum(len(table.cells) for table in tables))
