"""The `search` part of a study: what it may maximise, on which pairs, who teaches in it, and what it may shorten."""

from kdharness.study.check_rows import range_places
from kdharness.study.findings import Findings
from kdharness.study.resolve import Pair, known_pair
from kdharness.study.rows import Row, split_pair
from kdharness.study.spec import StudySpec

SEARCH_METRICS = ("val_top1_last", "val_top5_last")


def check_search(spec: StudySpec, pairs: list[Pair], known: list[Row], found: Findings) -> None:
    """Say what of the search cannot be meant."""
    search = spec.search
    if search is None:
        return
    if not range_places(spec, known):
        found.say(("search",), "no row has a range: nothing to search", key=True)
    labels = {pair.label for pair in pairs}
    for index, text in enumerate(() if search.pairs == "each" else search.pairs):
        sides = split_pair(text)
        if sides is None or known_pair(text, spec.dataset_name) not in pairs:
            found.unknown(("search", "pairs", index), "pair", text, labels)
    if search.maximize.startswith("test"):
        found.say(
            ("search", "maximize"),
            f"`{search.maximize}` is refused: a search never sees test images, maximize val_top1_last",
        )
    elif search.maximize not in SEARCH_METRICS:
        found.unknown(("search", "maximize"), "metric", search.maximize, SEARCH_METRICS)
    if search.teachers == "imported":
        found.say(
            ("search", "teachers"),
            "imported teachers have seen the validation images, on which they would overstate the student: the search "
            "trains its own",
        )
    elif search.teachers != "train":
        found.unknown(("search", "teachers"), "teachers", search.teachers, ["train"])
    for key, needs in (("rungs", "pruning"), ("prefix", "shared beginnings")):
        if getattr(search, key) is not None:
            found.later(("search", key), key, needs, key=True)
