"""The keys of three settings, frozen: whoever changes one makes every user train again."""

from study_texts import SOUND, expanded

FROZEN = {
    "teacher": "76e0689d7ac1a334ec296aae848079024065924bd8dea42dde5eda5b529387b5",
    "none": "15d585e07c9f32081eef1edc97f5d0afafd69f5c37485900e39f3611e9fd7533",
    "KD+LS": "b40d58be8f81228b4e8e68b3baad6e2ccd3ff123a22eb68f866e0a854f3bf326",
}


def test_frozen_setting_keys() -> None:
    """A change is meant only with a raised `revision`; a new field declares the value that older settings had."""
    keys = {run.label: run.setting.key for run in expanded(SOUND).wanted}
    assert {label: keys[label] for label in FROZEN} == FROZEN
