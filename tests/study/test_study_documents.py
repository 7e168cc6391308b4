"""YAML 1.2 meaning, places, and hostile files."""

import time

import pytest
from study_texts import problems

from kdharness.study.document import MAX_BYTES, MAX_DEPTH, read_document


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1e-3", 0.001),
        ("1e0", 1.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("+3", 3),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("no", "no"),
        ("off", "off"),
        ("y", "y"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2001-01-01", "2001-01-01"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("true", True),
        ("~", None),
        ("", None),
        ("resnet20 -> resnet8", "resnet20 -> resnet8"),
    ],
)
def test_plain_values_mean_what_yaml_1_2_says(written: str, meant: object) -> None:
    document = read_document(f"key: {written}\n".encode())
    assert document.problems == []
    value = document.value["key"]
    assert value == meant
    assert type(value) is type(meant)


def test_places_are_those_of_keys_and_values() -> None:
    document = read_document(b"a:\n  - {b: 1, cc: [x, y]}\n")
    assert document.at(("a", 0, "cc", 1)) == (2, 20)
    assert document.key_at(("a", 0, "cc")) == (2, 12)
    assert document.at(("a", 0, "missing")) == (2, 5)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: 1\na: 2\n", (2, 1), "named twice"),
        ("a: {b: 1, b: 1}\n", (1, 11), "named twice"),
        ("a: &x 1\n", (1, 4), "anchor"),
        ("a: *x\n", (1, 4), "alias"),
        ("a: {<<: {b: 1}}\n", (1, 5), "merge"),
        ("a: !!python/object/apply:os.system [ls]\n", (1, 4), "tag"),
        ("a: !mine 1\n", (1, 4), "tag"),
        ("%YAML 1.1\n---\na: no\n", (2, 1), "directive"),
        ("a: 1\n---\nb: 2\n", (2, 1), "second document"),
        ("a: .nan\n", (1, 4), "finite"),
        ("a: -.inf\n", (1, 4), "finite"),
        ("a: 1e999\n", (1, 4), "too large"),
        ("a: 1" + "0" * 5000 + "\n", (1, 4), "too long"),
        ("a: [1\nb: 2\n", (2, 2), "not YAML"),
        ("\ta: 1\n", (1, 1), "not YAML"),
        ("? [a]\n: 1\n", (1, 3), "plain word"),
        ('a: "\\ud800"\n', (1, 4), "U+D800"),
        ('a: "\\0"\n', (1, 4), "U+0000"),
        ("a: \0\n", (1, 4), "U+0000"),
        ("", (1, 1), "empty"),
        ("# nothing\n", (1, 1), "empty"),
    ],
)
def test_what_yaml_can_do_besides_is_refused_where_it_stands(text: str, place: tuple[int, int], words: str) -> None:
    found = read_document(text.encode()).problems
    assert [(one.line, one.column) for one in found] == [place]
    assert words in found[0].message


def test_bytes_that_are_no_text_are_refused() -> None:
    (found,) = read_document(b"a: 1\nb: \xff\n").problems
    assert (found.line, found.column) == (2, 4)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)
)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "- " * 100_000,
        "{a: " * 50_000,
        "a:\n" * 2 + "".join(" " * n + "a:\n" for n in range(600)),
        BOMB,
        "a: " + "x" * 200_000 + "\n",
        "x" * 250_000 + ": 1\n",
        "- 1\n" * 60_000,
        "#" * (MAX_BYTES + 1),
        "a: 1\n" * 500_000,
        '"' + "\\n" * 100_000,
    ],
    ids=["flow", "sequences", "mappings", "indent", "aliases", "long", "key", "many", "large", "huge", "escapes"],
)
def test_a_hostile_file_is_refused_within_a_second(text: str) -> None:
    began = time.process_time()
    lines = problems(text)
    assert time.process_time() - began < 1.0
    assert lines


def test_a_large_file_is_refused_unread() -> None:
    (found,) = read_document(b"# a comment that no other limit stops\n" * 10_000 + b"a: 1\n").problems
    assert "bytes, more than" in found.message


def test_depth_is_bounded_at_the_place_where_it_is_exceeded() -> None:
    (found,) = read_document(("[" * 1000).encode()).problems
    assert found.column == MAX_DEPTH + 1
