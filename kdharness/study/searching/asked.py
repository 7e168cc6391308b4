"""What a row's search is: its record, by which its course is decided, and its identity."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdharness.core.errors import StudyError
from kdharness.core.records import WantedRun
from kdharness.study.expand import Expansion
from kdharness.study.resolve import Template, any_values, value_of
from kdharness.study.searching.prefix import PRUNERS
from kdharness.study.searching.record import SearchRecord
from kdharness.study.searching.sampling import SAMPLERS
from kdharness.study.searching.space import brought_inside
from kdharness.study.students import settled


@dataclass(frozen=True)
class Identity:
    """Under which name the draws of a search are kept, and from which texts its randomness comes."""

    name: str
    stream: str
    """Of the draws: a draw's sampler is seeded by it and the draw's number."""
    brackets: str
    """Of hyperband's brackets."""


def record_of(expansion: Expansion, templates: Sequence[Template], axes: Mapping[str, Any]) -> SearchRecord:
    """The record of the search of these templates, one for each of its pairs."""
    part, seeds = expansion.study.spec.search, expansion.study.spec.seed_list
    assert part is not None  # a range without a search is no study
    more = part.finalists.seeds if part.finalists is not None else 0
    ranges = templates[0].ranges
    return SearchRecord(
        label=templates[0].label,
        axes=dict(axes),
        pairs=tuple(one.pair.label for one in templates),
        sampler=part.sampler,
        settings=SAMPLERS[part.sampler],
        generation=part.generation,
        draws=part.draws,
        maximize=part.maximize,
        validation=part.validation,
        validation_images=round(expansion.dataset.train_size * part.validation),
        ranges=dict(ranges),
        paper=brought_inside(ranges, _defaults(expansion, templates[0], axes)),
        seeds=tuple(range(seeds[0], seeds[0] + 1 + more)),
        keep=part.finalists.keep if part.finalists is not None else 1,
        rungs=tuple(part.rungs or ("1",)),
        prefix=part.prefix,
    )


def _defaults(expansion: Expansion, one: Template, axes: Mapping[str, Any]) -> dict[str, Any]:
    """What the constants would be without ranges: the papers'. Nothing where one has no default."""
    try:
        resolved = settled(expansion.study, one, {name: value for name, value in axes.items() if name in one.axes})
    except StudyError:
        return {}
    return {name: value_of(resolved, name) for name in one.ranges}


def identities(
    record: SearchRecord, template: Template, runs: Callable[[int, Mapping[str, Any]], Sequence[Sequence[WantedRun]]]
) -> tuple[Identity, Identity]:
    """Of a search that begins now, and of one that began when every search had a stream of its own.

    The name holds a hash of all that decides the draws: space, sampler, what is maximised, the settings. All searches
    of a study have one stream, so that none of its rows is luckier in its random numbers: draw 7 of every row starts
    from the same seed, and rows with equal ranges get equal random draws. Another first seed is another stream.
    """
    first = {**{name: any_values(template)[name] for name in record.ranges}, **record.paper}
    form: dict[str, Any] = {
        "ranges": {name: value.model_dump(mode="json") for name, value in sorted(record.ranges.items())},
        "sampler": [record.sampler, record.settings, record.generation, record.maximize],
        "settings": [chain[-1].run_id for chain in runs(0, first)],
    }
    if len(record.rungs) > 1:
        form["rungs"] = record.rungs
    if record.prefix is not None:
        form["prefix"] = [record.prefix, PRUNERS[record.prefix]]
    stream = f"draws of seed {record.seeds[0]}"
    before, now = _hash(form), _hash({**form, "stream": stream})
    names = [f"{record.label}#{text[:8]}" for text in (now, before)]
    return Identity(names[0], stream, stream), Identity(names[1], before, names[1])


def _hash(form: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()
