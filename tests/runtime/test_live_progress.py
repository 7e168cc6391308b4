import io
from dataclasses import replace

import pytest
from rich.console import Console
from tiny_study import ask, wanted

from kdharness.results.owner import Owner
from kdharness.results.records import QueueRow
from kdharness.runtime.news import name_of
from kdharness.runtime.outlook import Outlook, eta
from kdharness.runtime.planner import plan
from kdharness.runtime.progress import LiveProgress, PlainProgress, RunLine, Snapshot, clock, picture, progress_for

LINES = tuple(
    RunLine(
        f"cuda:{slot}", f"{slot}", "KD + label smoothing", "resnet32x4 -> shuffle_v2", 4, 137, 240, 1.2345, 93.21, 32e3
    )
    for slot in range(2)
)


def snapshot(elapsed=75.0, **changes):
    values = {"total": 1900, "complete": 512, "failed": 3, "blocked": 12, "fraction": 0.34, "eta_seconds": 98765.0}
    return Snapshot(**{**values, "elapsed_seconds": elapsed, "running": LINES, **changes})


@pytest.mark.parametrize("width", [80, 160])
def test_every_number_is_readable_at_this_width(width):
    console = Console(width=width, file=io.StringIO())
    console.print(picture(snapshot()))
    head, titles, *lines = console.file.getvalue().splitlines()
    assert "512/1900 runs · 34% · 3 failed · 12 blocked · 1:15 · ETA 1 d 03:26" in head
    assert titles.split() == ["slot", "method", "pair", "seed", "epoch", "loss", "train", "%", "img/s"]
    assert len(lines) == 2
    for line in lines:
        assert len(line) <= width and line.split()[-4:] == ["137/240", "1.234", "93.2", "32,000"]
    assert ("resnet32x4 -> shuffle_v2" in lines[0]) == (width == 160)


def test_no_figure_where_nothing_is_known_yet():
    line = RunLine("cpu:0", "r", "KD", "a -> b", 0, 0, 30)
    console = Console(width=100, file=io.StringIO())
    console.print(picture(snapshot(running=(line,), eta_seconds=None, failed=0, blocked=0)))
    text = console.file.getvalue()
    assert "ETA ..." in text and "failed" not in text and "0/30" in text and "None" not in text


def test_failures_stay_above_the_live_display():
    console = Console(width=80, file=io.StringIO(), force_terminal=True)
    with LiveProgress(console) as live:
        live.show(snapshot())
        live.say("KD a -> b seed 0: failed: [boom] see log", bad=True)
    assert "failed: [boom] see log" in console.file.getvalue()


def test_plain_lines_are_events_and_one_a_minute():
    console = Console(width=80, file=io.StringIO())
    plain = progress_for(console)
    assert isinstance(plain, PlainProgress)
    with plain:
        for second in range(0, 130, 10):
            plain.show(snapshot(float(second)))
            if second == 30:
                plain.say("KD resnet20 -> resnet8 seed 0: complete; " + "a long line is never folded " * 5)
    lines = console.file.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["[0:00]", "[0:30]", "[1:30]"]
    assert "512/1900 runs" in lines[0] and "512/1900 runs" in lines[2]


def test_plain_lines_say_what_trains_teachers_too():
    """Teachers come first: without their epochs nothing would be seen for the whole of their training."""
    console = Console(width=80, file=io.StringIO())
    line = RunLine("cpu:0", "r", "teacher", "resnet20", 0, 0, 30)
    with PlainProgress(console) as plain:
        plain.show(snapshot(1.0, running=()))
        plain.show(snapshot(2.0, running=(line,)))
        plain.show(snapshot(70.0, running=(replace(line, epoch=12, accuracy=93.21, beside=7),)))
    first, second = console.file.getvalue().splitlines()
    assert first.startswith("[0:02]") and first.endswith("teacher resnet20 seed 0: epoch 0/30")
    assert second.endswith("teacher resnet20 seed 0 and 7 beside it: epoch 12/30, train 93.2 %")


def test_clock():
    assert [clock(seconds) for seconds in (0, 59.6, 3723, 100_000)] == ["0:00", "1:00", "1:02:03", "1 d 03:46"]


def row(label, epoch=0, state="waiting"):
    return QueueRow(f"{label}{epoch}", state, 0, 0, "final", epoch=epoch, epochs=10, label=label, pair="p")


def test_time_left_is_the_work_left_over_the_slots():
    known = {("kd", "p"): 2.0, ("dkd", "p"): 4.0}
    assert eta([], known, 2) == 0.0
    assert eta([row("kd")], {}, 2) is None
    assert eta([row("kd", 5, "running"), row("dkd", 5, "running")], known, 1) == 30.0
    assert (
        eta([row("kd", 5, "running"), row("dkd", 5, "running")], known, 2) == 20.0
    )  # the longer one is alone at the end
    assert eta([row("new", 5, "running")], known, 8) == 15.0  # a mean of what is known


def test_a_run_is_named_with_the_values_of_its_axes(home, store):
    want = [replace(one, axes={"temperature": 2.0}) if one.label == "none" else one for one in wanted()]
    ids = ask(store, want)
    (lease,) = store.claim([ids["none0"]], Owner.current(), slot="cpu:0")
    queue = store.queue("tiny")
    (line,) = Outlook(store, 1).snapshot(queue, plan(queue, (), ours={lease.run_id}), {lease.run_id}).running
    assert line.label == "none (temperature=2)"
    assert name_of(next(row for row in queue if row.run_id == lease.run_id)) == (
        f"none (temperature=2) {line.pair} seed 0"
    )


def test_a_snapshot_reads_how_training_goes_and_nothing_of_the_test_split(home, store):
    ids = ask(store, wanted())
    store.claim([ids["teacher0"]], Owner.current(), slot="cpu:0")  # another runner's
    (lease,) = store.claim([ids["none0"]], Owner.current(), slot="cpu:1")
    store.commit_epoch(lease, 1, 6, {"train_loss": 2.0, "train_top1": 30.0, "train_seconds": 0.5}, None)
    store.commit_epoch(lease, 2, 12, {"train_loss": 1.0, "train_top1": 60.0, "train_seconds": 0.5}, None)
    queue = store.queue("tiny")
    made = Outlook(store, 2).snapshot(queue, plan(queue, (), ours={ids["none0"]}), {ids["none0"]})
    (line,) = made.running
    assert (line.slot, line.label, line.epoch, line.epochs) == ("cpu:1", "none", 2, 3)
    assert (line.loss, line.accuracy, line.images_per_second) == (1.0, 60.0, 6 * 256 / 0.5)
    assert (made.total, made.complete, made.fraction) == (3, 0, 2 / 9)
    assert made.eta_seconds is not None and made.eta_seconds > 0


def test_a_job_of_several_runs_is_one_line_of_the_one_that_is_least_far(home, store):
    ids = ask(store, wanted())
    leases = store.claim([ids["none0"], ids["teacher0"]], Owner.current(), slot="cpu:1")
    for lease, epochs, seconds in zip(leases, (2, 1), (0.5, 1.5), strict=True):
        for epoch in range(1, epochs + 1):
            measured = {"train_loss": float(epochs), "train_top1": 30.0, "train_seconds": seconds}
            store.commit_epoch(lease, epoch, 6 * epoch, measured, None)
    queue = store.queue("tiny")
    ours = {ids["none0"], ids["teacher0"]}
    (line,) = Outlook(store, 2).snapshot(queue, plan(queue, (), ours=ours), ours).running
    assert (line.run_id, line.epoch, line.loss, line.beside) == (ids["teacher0"], 1, 1.0, 1)
    assert line.images_per_second == 2 * 6 * 256 / 2.0
    console = Console(width=100, file=io.StringIO())
    console.print(picture(snapshot(running=(line,))))
    assert "teacher +1" in console.file.getvalue()
