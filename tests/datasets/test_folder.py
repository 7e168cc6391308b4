"""A user's own images: every law, and every way in which a tree of images can be wrong."""

import gzip
import json
import os
import shutil
import tarfile

import numpy as np
import pytest
import torch
from folder_trees import CLASSES, corpus, encoded, member, one_tree, pixels, put, tarred, tree

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.datasets import trees
from kdharness.datasets.folder import Folder
from kdharness.datasets.opening import open_dataset
from kdharness.testing import check_dataset

FORMS = {"w": ".tar", "w:gz": ".tar.gz", "w:xz": ".tar.xz", "w:bz2": ".tar.bz2"}


@pytest.fixture
def data(tmp_path):
    """A data directory with `mine/`, a tree with train and test."""
    put(tmp_path / "mine", tree())
    return tmp_path


def folder_of(tmp_path, files, **options):
    put(tmp_path / "mine", files)
    return Folder(tmp_path, "mine", **options)


@pytest.mark.parametrize("form", ["directory", "tar", "cut", "resized"])
def test_every_law(tmp_path, form):
    options = {"test": 0.2} if form == "cut" else {"size": 12} if form == "resized" else {}
    files = one_tree() if form == "cut" else tree(train=20)
    if form == "tar":
        (tmp_path / "mine.tar.xz").write_bytes(tarred(files))
    else:
        put(tmp_path / "mine", files)
    source = "mine.tar.xz" if form == "tar" else "mine"
    check_dataset(lambda data: Folder(data, source, **options), tmp_path, official=False)
    name = Folder(tmp_path, source, **options).name
    (tmp_path / source).rename(tmp_path / "gone")
    check_dataset(lambda data: open_dataset(name, data), tmp_path, official=False)
    whole, prepared = Folder(tmp_path, "gone", **options) if form != "tar" else None, open_dataset(name, tmp_path)
    if whole is not None:  # the cache says the same as the folder, wherever that lies now
        for fact in ("name", "fingerprint", "classes", "num_classes", "image_shape", "train_size", "test_size",
                     "normalization", "recipe", "teacher_recipe"):  # fmt: skip
            assert getattr(whole, fact) == getattr(prepared, fact), fact


def test_classes_are_sorted_and_images_lie_by_their_path(data):
    folder = Folder(data, "mine")
    train, test = folder.split("train"), folder.split("test")
    assert folder.classes == CLASSES and train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    for part, start, split in (("train", 0, train), ("test", 12, test)):
        wanted = np.stack([pixels(start + n).transpose(2, 0, 1) for n in range(len(split.labels))])
        assert np.array_equal(split.images.numpy(), wanted), part


def test_the_normalisation_is_that_of_the_train_images(data):
    folder = Folder(data, "mine")
    images = folder.split("train").images.double() / 255
    assert folder.normalization.mean == pytest.approx(images.mean((0, 2, 3)).tolist(), abs=5e-5)
    assert folder.normalization.std == pytest.approx(images.std((0, 2, 3), correction=0).tolist(), abs=5e-5)


@pytest.mark.parametrize("mode", FORMS)
@pytest.mark.parametrize("prefix", ["", "./", "top/"])
def test_a_tar_is_the_directory_it_was_made_from(data, mode, prefix):
    wanted = Folder(data, "mine")
    (data / f"other{FORMS[mode]}").write_bytes(tarred(tree() | {"README": b"hello"}, mode, prefix))
    packed = Folder(data, f"other{FORMS[mode]}")
    assert (packed.fingerprint, packed.name, packed.title) == (wanted.fingerprint, wanted.name, f"other{FORMS[mode]}")
    assert torch.equal(packed.split("test").images, wanted.split("test").images)


def test_one_tree_is_cut_by_class_and_always_the_same(tmp_path):
    folder = folder_of(tmp_path, one_tree(), test=0.2)
    assert (folder.train_size, folder.test_size) == (48, 12)
    assert folder.split("test").labels.bincount().tolist() == [4, 4, 4]
    seen = {bytes(image.numpy().tobytes()) for part in ("train", "test") for image in folder.split(part).images}
    assert len(seen) == 60
    (tmp_path / "top.tar").write_bytes(tarred(one_tree(), "w", "top/"))
    assert Folder(tmp_path, "top.tar", test=0.2).fingerprint == folder.fingerprint


def test_the_fingerprint_is_a_constant_of_the_content(tmp_path):
    """A key that moves between versions would train everything again."""
    images = {
        f"{part}/{name}/{number}.ppm": b"P6 8 8 255\n" + bytes([number + 9 * len(part + name)]) * 192
        for part in ("train", "test")
        for name in ("b", "aa")
        for number in range(2)
    }
    assert folder_of(tmp_path, images).fingerprint == "5cc2cbf620af7e93da65a8c6750f27970f69cc287b9109043b3292942facc7ac"
    assert Folder(tmp_path, "mine", size=16).name == "folder-d69321dd2d47"


def test_whatever_a_student_would_see_is_in_the_fingerprint(data):
    found = [Folder(data, "mine").fingerprint]
    found.append(Folder(data, "mine", size=8).fingerprint)
    image = data / "mine" / "train" / "ant" / "000.png"
    image.write_bytes(encoded(pixels(99)))
    found.append(Folder(data, "mine").fingerprint)
    image.rename(image.with_name("999.png"))
    found.append(Folder(data, "mine").fingerprint)
    image.with_name("999.png").unlink()
    found.append(Folder(data, "mine").fingerprint)
    put(data / "one", one_tree())
    found += [Folder(data, "one", test=part).fingerprint for part in (0.2, 0.3)]
    assert len(set(found)) == len(found)


def test_what_no_student_sees_is_not(data):
    before = Folder(data, "mine").fingerprint
    for path in ("README.md", "train/labels.csv", "train/ant/.DS_Store", "notes/ant/a.txt", ".git/x"):
        put(data / "mine", {path: b"x"})
    os.utime(data / "mine" / "train" / "ant" / "000.png", ns=(1, 1))
    shutil.copytree(data / "mine", data / "copy")
    assert Folder(data, "mine").fingerprint == Folder(data, "copy").fingerprint == before


def test_a_second_plan_reads_nothing_and_an_edit_reads_what_changed(data, monkeypatch):
    (data / "mine.tar").write_bytes(tarred(tree(), "w"))
    wanted = [Folder(data, source).fingerprint for source in ("mine", "mine.tar")]
    read = []

    def watch(original):
        def reading(self, skip=()):
            for path, content in original(self, skip):
                read.append(path)
                yield path, content

        return reading

    for kind in (trees.Directory, trees.Tar):
        monkeypatch.setattr(kind, "read", watch(kind.read))
    assert [Folder(data, source).fingerprint for source in ("mine", "mine.tar")] == wanted and not read
    (data / "mine" / "test" / "bee" / "000.png").write_bytes(encoded(pixels(50)))
    assert Folder(data, "mine").fingerprint != wanted[0] and read == ["test/bee/000.png"]


def test_a_damaged_index_is_made_again(data):
    wanted = Folder(data, "mine").fingerprint
    (index,) = (data / ".folders").iterdir()
    whole = index.read_text()
    for harm in ("", "{", whole.replace('"version": 1', '"version": 0'), "[]\n", '{"a": 1}\n', "\udc80"):
        index.write_text(harm, errors="surrogateescape")
        assert Folder(data, "mine").fingerprint == wanted and index.read_text() == whole


def test_an_index_that_was_cut_is_told_once_and_made_again(data):
    _ = Folder(data, "mine").fingerprint
    (index,) = (data / ".folders").iterdir()
    index.write_text("".join(index.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(EnvironmentRefused, match="was cut"):
        Folder(data, "mine").split("train")
    assert len(Folder(data, "mine").split("train").labels) == 12


def test_bytes_that_changed_behind_size_and_date_are_named(data):
    folder = Folder(data, "mine")
    assert np.array_equal(folder.reread()["train-images"], folder.split("train").images.numpy())
    image = data / "mine" / "train" / "bee" / "002.png"
    facts, content = image.stat(), bytearray(image.read_bytes())
    content[-20] ^= 1
    image.write_bytes(content)
    os.utime(image, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    for _ in range(2):  # told until somebody does something about it
        with pytest.raises(BadInput, match=r"1 files have other bytes than before .*: train/bee/002\.png"):
            Folder(data, "mine").reread()
    image.touch()
    with pytest.raises(BadInput, match=r"train/bee/002\.png cannot be decoded"):
        Folder(data, "mine").reread()


def test_bad_images_are_named_and_counted_and_nothing_is_left(data):
    for name, (content, _) in corpus().items():
        put(data / "mine", {f"train/ant/{name}": content})
    folder = Folder(data, "mine")
    assert folder.train_size == 12 + len(corpus())  # a plan does not decode
    with pytest.raises(BadInput, match=f": {len(corpus())} of its images cannot be used: ") as error:
        folder.split("train")
    assert error.value.what.count("train/ant/") == 5 and f"and {len(corpus()) - 5} more" in error.value.what
    assert error.value.where == str(data / "mine") and not list(data.glob("folder-*"))


def test_images_of_other_sizes_are_named_unless_a_size_is_given(data):
    for number in range(7):
        put(data / "mine", {f"train/bee/9{number}.png": encoded(pixels(200 + number, 9 + number, 10))})
    with pytest.raises(
        BadInput, match=r"7 of its images have another size than the first, 8 x 8: .*and 2 more"
    ) as error:
        Folder(data, "mine").split("train")
    assert "train/bee/90.png 10 x 9;" in error.value.what and "size: 32" in error.value.remedy
    assert Folder(data, "mine", size=9).split("train").images.shape == (19, 3, 9, 9)


def test_images_need_not_be_square(tmp_path):
    folder = folder_of(tmp_path, tree(height=6, width=10))
    assert folder.image_shape == (3, 6, 10) and folder.split("test").images.shape == (6, 3, 6, 10)


def test_the_same_pixels_under_two_classes_are_refused_whatever_the_file(data):
    put(data / "mine", {"train/cat/twin.bmp": encoded(pixels(0), "BMP")})
    with pytest.raises(
        BadInput, match=r"1 images have the same pixels .* class: train/cat/twin\.bmp = train/ant/000\.png"
    ):
        Folder(data, "mine").split("train")


def test_an_image_of_train_and_test_is_refused(data):
    put(data / "mine", {"train/ant/twin.png": encoded(pixels(12)), "train/ant/again.png": encoded(pixels(0))})
    with pytest.raises(
        BadInput, match=r"1 images are both in train and in test: train/ant/twin\.png = test/ant/000\.png"
    ):
        Folder(data, "mine").split("train")
    (data / "mine" / "train" / "ant" / "twin.png").unlink()
    assert len(Folder(data, "mine").split("train").labels) == 13  # twice in one class of train: the owner's choice


TOO_FEW = {
    "a class of test alone": ({"test/dog/0.png": 50}, [], "dog is a class of test but not of train"),
    "a class of train alone": ({"train/dog/0.png": 50, "train/dog/1.png": 51}, [], "dog has no test image"),
    "one train image": ({"train/dog/0.png": 50, "test/dog/0.png": 51}, [], "dog has 1 train image"),
    "an empty class": ({}, ["train/dog", "test/dog"], "dog has no test image"),
    "an empty class of train": ({"test/dog/0.png": 50}, ["train/dog"], "dog has 0 train images"),
}


@pytest.mark.parametrize("packed", [False, True], ids=["directory", "tar"])
@pytest.mark.parametrize("name", TOO_FEW)
def test_classes_with_too_few_images_are_named(data, name, packed):
    images, empty, reason = TOO_FEW[name]
    files = tree() | {path: encoded(pixels(seed)) for path, seed in images.items()}
    if packed:
        more = [member(path, tarfile.DIRTYPE) for path in empty]
        (data / "mine.tar").write_bytes(tarred(files, "w", more=more))
    else:
        put(data / "mine", files)
        for path in empty:
            (data / "mine" / path).mkdir()
    with pytest.raises(BadInput, match=f"1 of its classes cannot be learnt: {reason}"):
        _ = Folder(data, "mine.tar" if packed else "mine").train_size


NO_TREES = {
    "nothing": ({}, None, "no class directories in train/"),
    "no test": ({"train/a/0.png": b"x"}, None, "no class directories in test/"),
    "only files": ({"a.png": b"x", "b.png": b"x"}, 0.2, "not a tree of class directories"),
    "parts already": (tree(), 0.2, "has train and test already|deeper|only images"),
    "one class": ({f"a/{n}.png": encoded(pixels(n)) for n in range(9)}, 0.2, "only one class|not a tree of class"),
    "too deep": (tree() | {"train/ant/more/0.png": b"x"}, None, "only images may lie|deeper than train/<class>"),
    "no image at all": ({f"{part}/{name}/{n}.png": b"x" for part in ("train", "test") for name in "ab" for n in "12"},
                        None, "not one of its files is an image"),
}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True], ids=["directory", "tar"])
@pytest.mark.parametrize("name", NO_TREES)
def test_what_is_no_tree_is_refused(tmp_path, name, packed):
    files, test, reason = NO_TREES[name]
    (tmp_path / "mine").mkdir()
    put(tmp_path / "mine", files)
    (tmp_path / "mine.tar").write_bytes(tarred(files, "w"))
    with pytest.raises(BadInput, match=reason):
        _ = Folder(tmp_path, "mine.tar" if packed else "mine", test=test).fingerprint


@pytest.mark.parametrize("source", ["/etc", "../mine", "mine/../../x", "", ".", "a\0b"])
def test_a_source_outside_the_data_directory_is_refused(tmp_path, source):
    with pytest.raises(BadInput, match="not a path inside the data directory"):
        Folder(tmp_path, source)


@pytest.mark.parametrize("options", [{"test": 0.0}, {"test": 1.0}, {"test": float("nan")}, {"size": 7}, {"size": 513}])
def test_odd_numbers_are_refused(tmp_path, options):
    with pytest.raises(BadInput, match="is not between"):
        Folder(tmp_path, "mine", **options)


def test_a_missing_folder_says_so_and_opens_nothing(tmp_path):
    folder = Folder(tmp_path / "nowhere", "mine.tar.xz")
    assert "there is no mine.tar.xz in" in folder.missing
    with pytest.raises(EnvironmentRefused, match=r"there is no mine\.tar\.xz"):
        _ = folder.name
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "mine.zip").write_bytes(b"")
    assert Folder(tmp_path, "mine.zip").missing is None
    with pytest.raises(BadInput, match="neither a directory nor a tar"):
        _ = Folder(tmp_path, "mine.zip").name


HOSTILE = {
    "a symbolic link": member("train/ant/x.png", tarfile.SYMTYPE, "/etc/passwd"),
    "a hard link": member("train/ant/x.png", tarfile.LNKTYPE, "train/ant/000.png"),
    "a device": member("train/ant/x.png", tarfile.CHRTYPE),
    "a fifo": member("train/ant/x.png", tarfile.FIFOTYPE),
    "an absolute path": member("/train/ant/x.png"),
    "a path out of it": member("train/../../x.png"),
    "a file twice": member("train/ant/000.png"),
    "a name that is not UTF-8": member("train/ant/\udcff.png"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_members_of_a_tar_are_named(tmp_path, name):
    (tmp_path / "mine.tar.gz").write_bytes(tarred(tree(), "w:gz", more=[HOSTILE[name]]))
    with pytest.raises(BadInput, match=r"no plain file|a path out of it|twice|not UTF-8"):
        _ = Folder(tmp_path, "mine.tar.gz").fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["mine.tar.gz"]


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("first", [True, False])
def test_a_header_that_would_fill_the_memory_is_refused(tmp_path, kind, first):
    bomb = member("x", kind)
    bomb.size = 2**20 + 20_480
    block = bomb.tobuf(tarfile.GNU_FORMAT) + bytes(bomb.size)
    whole = tarred(tree(), "w")
    end = whole.rstrip(b"\0")
    begin = end + bytes(-len(end) % 512)
    (tmp_path / "mine.tar.gz").write_bytes(gzip.compress(block + whole if first else begin + block + bytes(10_240)))
    with pytest.raises(BadInput, match=r"a header of more than 1,048,576 bytes"):
        _ = Folder(tmp_path, "mine.tar.gz").fingerprint


@pytest.mark.parametrize("link", ["train/ant/000.png", "train/ant"])
def test_links_in_a_circle_are_named(data, link):
    place = data / "mine" / link
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    place.symlink_to(place.name)
    with pytest.raises(EnvironmentRefused, match="symbolic links") as error:
        _ = Folder(data, "mine").fingerprint
    assert error.value.where == str(place)


@pytest.mark.parametrize("packed", [False, True], ids=["directory", "tar"])
def test_a_test_part_is_not_cut_off_twice(data, packed):
    (data / "mine.tar").write_bytes(tarred(tree(), "w"))
    with pytest.raises(BadInput) as error:
        _ = Folder(data, "mine.tar" if packed else "mine", test=0.2).fingerprint
    assert error.value.remedy == "it has train and test already: leave out `test`"


@pytest.mark.parametrize("mode", FORMS)
def test_a_cut_tar_is_never_taken_for_a_whole_one(tmp_path, mode):
    whole = tarred(tree(2, 1), mode)
    step = 512 if mode == "w" else 97
    # a plain tar ends in zeros up to a multiple of 10,240 bytes; two blocks of them are its end
    end = len(whole.rstrip(b"\0")) + 512 if mode == "w" else len(whole)
    place = tmp_path / f"mine{FORMS[mode]}"
    for length in range(0, end, step):
        place.write_bytes(whole[:length])
        with pytest.raises(BadInput, match="may not be all there"):
            _ = Folder(tmp_path, place.name).fingerprint
    place.write_bytes(whole)
    assert Folder(tmp_path, place.name).train_size == 6


@pytest.mark.parametrize("limit", ["MOST_FILES", "MOST_FILE_BYTES", "MOST_BYTES"])
def test_limits_on_a_tree(data, limit, monkeypatch):
    (data / "mine.tar").write_bytes(tarred(tree(), "w"))
    monkeypatch.setattr(trees, limit, 5)
    for source in ("mine", "mine.tar"):
        with pytest.raises(BadInput, match=r"more than|larger than"):
            _ = Folder(data, source).fingerprint


def test_more_pixels_than_memory_are_refused_before_they_are_decoded(data, monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 3, "SC_PAGE_SIZE": 1000}.get)
    with pytest.raises(EnvironmentRefused, match=r"3,456 bytes when decoded, .* of 3,000") as error:
        Folder(data, "mine").split("train")
    assert "size" in error.value.remedy


def test_a_large_image_is_no_warning_but_named(data, recwarn):
    put(data / "mine", {"train/ant/large.png": corpus()["bomb-in-the-warning.png"][0]})
    with pytest.raises(BadInput, match=r"large\.png has (12,000 x 10,000|more than)"):
        Folder(data, "mine").split("train")
    assert not recwarn.list


def test_odd_things_in_a_class_directory_are_named_and_links_to_files_followed(data):
    ant = data / "mine" / "train" / "ant"
    before = Folder(data, "mine").fingerprint
    (ant / "000.png").rename(data / "elsewhere.png")
    (ant / "000.png").symlink_to(data / "elsewhere.png")
    assert Folder(data, "mine").fingerprint == before
    os.mkfifo(ant / "pipe.png")
    (ant / "dangling.png").symlink_to("nowhere")
    with pytest.raises(BadInput, match=r"dangling\.png is a link to nothing; train/ant/pipe\.png is no file"):
        _ = Folder(data, "mine").fingerprint


def test_a_file_that_changes_while_it_is_read_is_named(data):
    folder = Folder(data, "mine")
    _ = folder.fingerprint
    (data / "mine" / "test" / "cat" / "001.png").write_bytes(encoded(pixels(77)))
    with pytest.raises(BadInput, match=r"changed while the images were read: test/cat/001\.png"):
        folder.split("train")
    _ = Folder(data, "mine").fingerprint  # another process has looked again
    with pytest.raises(EnvironmentRefused, match="made anew meanwhile"):
        folder.split("train")
    assert not list(data.glob("folder-*"))


def test_a_constant_channel_has_no_normalisation(tmp_path):
    files = {}
    for number, path in enumerate(tree()):
        image = pixels(number)
        image[..., 1] = 7
        files[path] = encoded(image)
    with pytest.raises(BadInput, match="a colour channel of its train images never changes"):
        folder_of(tmp_path, files).split("train")


def test_a_folder_is_opened_by_name_only_once_it_is_decoded_and_whole(data):
    folder = Folder(data, "mine")
    for name in (folder.name, "folder-0123456789ab"):
        with pytest.raises(EnvironmentRefused, match="are not decoded") as error:
            open_dataset(name, data)
        assert "kdharness data prepare" in error.value.remedy
    folder.split("train")
    about = data / folder.name / "about.json"
    facts = json.loads(about.read_text())
    assert facts["fingerprint"] == folder.fingerprint and facts["title"] == "mine"
    images = data / folder.name / "train-images.npy"
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(EnvironmentRefused, match="are damaged"):
        open_dataset(folder.name, data).split("train")
    assert len(Folder(data, "mine").split("train").labels) == 12  # made again
    about.write_text(about.read_text().replace("ant", "bat"))
    with pytest.raises(EnvironmentRefused, match="are not decoded"):
        open_dataset(folder.name, data)
    assert open_dataset("digits", data).name == "digits"


def test_an_index_that_cannot_be_written_is_told(data):
    (data / ".folders").write_text("a file")
    with pytest.raises(EnvironmentRefused, match="cannot be written") as error:
        _ = Folder(data, "mine").fingerprint
    assert "--data" in error.value.remedy
