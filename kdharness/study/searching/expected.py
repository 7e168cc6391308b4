"""The validation score that a search of a given budget would be expected to find."""

from collections.abc import Sequence


def expected_best(values: Sequence[float]) -> list[float]:
    """(N,) -> (N,): for each budget n = 1..N the expected maximum of n draws from the N values, with replacement.

    Dodge et al., EMNLP 2019, equation 7: with the values ascending, `P(max <= v_i) = (i/N)^n`, and the expectation is
    `sum_i v_i (P(max <= v_i) - P(max <= v_(i-1)))`. It holds for independent draws (sampler `random`); with a sampler
    that learns the early budgets come out too high.
    """
    ascending, count = sorted(values), len(values)
    return [
        sum(value * ((at / count) ** n - ((at - 1) / count) ** n) for at, value in enumerate(ascending, 1))
        for n in range(1, count + 1)
    ]
