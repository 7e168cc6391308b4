"""The keys of three settings, frozen: whoever changes one makes every user train again."""

from study_texts import SOUND, expanded

FROZEN = {
    "teacher": "1c0928aab8ec28169b0c98ee7486d438266bd9696d20dd94adad6f60cec40951",
    "none": "7fb9183fd6cc028b9be9130586ddb347dbfc029daeb5ac0a993c738fcc08204b",
    "KD+LS": "a543cd20381e53df3e73d67942a7c8dd19a86739ba47babda41f905951c0a2c4",
}


def test_frozen_setting_keys() -> None:
    """A change is meant only with a raised `revision`; a new field declares the value that older settings had."""
    keys = {run.label: run.setting.key for run in expanded(SOUND).wanted}
    assert {label: keys[label] for label in FROZEN} == FROZEN
