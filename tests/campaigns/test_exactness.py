"""The short form of `make exact`: a pair, a method of each kind, every way but another process."""

import json
from dataclasses import asdict

from exactness import CROSS, SAME, Group, Trainer, campaign, compare, digest, group_of

from kdharness.distillers.registry import DISTILLERS

GROUP = Group("wrn_16_2 -> resnet8", ("kd", "crd", "fitnet"), (("kd", 1),))


def test_the_same_bits_in_every_way() -> None:
    differ, tables = compare(GROUP, process=False)
    assert len(differ) == 8 and not any(differ.values()), differ
    assert tables == "2/2"  # crd's rows hold pooled features, too


def test_one_bit_is_seen() -> None:
    end = Trainer(GROUP).train([("kd", 0)], stop_after=2)["kd", 0]
    before = digest(end)
    end.state["run"]["student"]["fc.bias"][0].view(-1).mul_(1 + 2**-23)
    assert digest(end) != before


def test_the_long_form_names_every_method_and_pair() -> None:
    groups = campaign()
    assert {group.pair for group in groups} >= {*SAME, *CROSS}
    assert sum(set(group.distillers) == set(DISTILLERS) for group in groups) == 2
    assert all(group_of(json.dumps(asdict(group))).cases == group.cases for group in groups)
