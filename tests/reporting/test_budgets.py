"""What each row's constants cost to find, in words."""

from kdharness.reporting.budgets import Row, budgets, unsearched

SPEC = {
    "label": "dkd",
    "axes": {},
    "draws": 40,
    "validation_images": 5000,
    "pairs": ["resnet32x4 -> resnet8x4"],
}
OUTCOME = {
    "winner": 17,
    "value": 74.256,
    "repeats": [74.0, 73.0, 75.0],
    "dropped": [[3, 2], [0, 1]],
    "finals": {"resnet32x4 -> resnet8x4": "k1"},
    "paper": {"resnet32x4 -> resnet8x4": "k2"},
}


def row(label: str, key: str, *sources: str, ours: bool = False, top1: float | None = None) -> Row:
    return Row(label, "resnet32x4 -> resnet8x4", key, ours, sources, top1)


ROWS = [
    row("none", "k0"),
    row("kd", "k3", "preset hinton2015", "default of kd"),
    row("KD4", "k4", "preset hinton2015", "entry, line 8"),
    row("dkd", "k1", "search draw 17 of 40", top1=76.0),
    row("dkd", "k1", "search draw 17 of 40", top1=77.0),
    row("dkd, paper's constants", "k2", "preset zhao2022dkd", top1=75.5),
]


def test_every_row_has_its_budget() -> None:
    (said,) = budgets(ROWS, [(SPEC, OUTCOME)])
    assert said == (
        "Budgets: dkd: 40 settings, validation 5,000, on ResNet32×4 → ResNet8×4 (draw 17: validation 74.26 in the "
        "search and 74.00 ± 1.00 (3) in the repeat; given up on the way, in no mean: draw 0 (n = 1), draw 3 (n = 2); "
        "test 76.50 ± 0.71 (2), with the paper's constants 75.50 (1)). kd: paper's constants. KD4: fixed here."
    )
    (said,) = budgets(ROWS, [(SPEC, None)])
    assert "on ResNet32×4 → ResNet8×4 (not chosen yet)." in said


def test_many_draws_that_were_given_up_are_counted_by_their_n() -> None:
    many = [[number, 1 if number < 20 else 4] for number in range(35)]
    (said,) = budgets(ROWS, [(SPEC, OUTCOME | {"dropped": many})])
    assert "in no mean: 20 draws with n = 1, 15 draws with n = 4 (kdharness search show lists them); test" in said
    (said,) = budgets(ROWS, [(SPEC, OUTCOME | {"dropped": 35})])  # as it was kept before
    assert "given up on the way, in no mean: 35 draws; test" in said
    (said,) = budgets(ROWS, [(SPEC, OUTCOME | {"dropped": []})])
    assert "given up" not in said


def test_where_all_rows_are_the_papers_nothing_is_said() -> None:
    assert budgets(ROWS[:2], []) == []
    assert budgets(ROWS[:3], []) == ["Budgets: kd: paper's constants. KD4: fixed here."]


def test_a_plug_in_has_no_paper() -> None:
    mine = row("mine", "k7", "default of mylab.rank")
    sums = row("sum", "k8", "preset hinton2015", "default of kd + mylab.rank")
    (said,) = budgets([ROWS[1], mine, sums], [])
    assert said == "Budgets: kd: paper's constants. mine, sum: plug-in's defaults."
    searched = [row("mine", "k1", "search draw 17 of 40"), row("mine, plug-in's defaults", "k2", top1=75.5)]
    (said,) = budgets(searched, [({**SPEC, "label": "mine"}, OUTCOME)])
    assert "with the plug-in's defaults 75.50 (1)" in said and "paper" not in said
    assert (unsearched("kd"), unsearched("kd + mylab.rank")) == ("paper's constants", "plug-in's defaults")


def test_more_settings_for_ours_than_for_a_baseline_are_warned_of() -> None:
    ours = [row("dkd", "k1", "search draw 17 of 40", ours=True), *ROWS[:2]]
    said = budgets(ours, [(SPEC, OUTCOME)])
    assert said[1:] == ["Warning: dkd (ours) was chosen among 40 settings, more than kd (1)."]
    both = [*ours, row("KDS", "k9", "search draw 1 of 40")]
    assert "KDS" not in budgets(both, [(SPEC, OUTCOME), ({**SPEC, "label": "KDS"}, None)])[1]
