"""How a conformance check fails: with a sentence for the author of the class, also under `python -O`."""

from torch import Tensor, isfinite


def expect(condition: bool, message: str) -> None:
    """Nothing where `condition` holds. Raises AssertionError with `message`."""
    if not condition:
        raise AssertionError(message)


def expect_finite(values: Tensor | None, message: str) -> None:
    """Raises AssertionError where a value is NaN or infinite; None (no gradient at all) passes."""
    expect(values is None or bool(isfinite(values).all()), message)
