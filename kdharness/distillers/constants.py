"""The kinds of constants that methods share: their ranges and what they mean, written once.

Strict: a text or a truth value is no number; a whole number is one.
"""

from typing import Annotated, Literal

from pydantic import Field

from kdharness.core.keys import Since
from kdharness.core.types import Epochs

Weight = Annotated[float, Field(strict=True, ge=0, le=1e6)]
Temperature = Annotated[float, Field(strict=True, gt=0, le=1000, description="Divides both logits (T, tau).")]

CrossEntropyWeight = Annotated[Weight, Field(description="Weight of the cross-entropy of the raw student logits.")]
Warmup = Annotated[
    int,
    Field(
        strict=True,
        ge=0,
        le=10_000,
        description="Epochs over which the distillation terms grow linearly to their weight.",
    ),
    Epochs(),
]
Standardize = Annotated[
    Literal["none", "zscore", "mean", "std"],
    Field(
        description="`zscore` standardizes every row of both logits before the temperature (Sun et al. 2024); `mean` "
        "only subtracts the row's mean, `std` only divides by its deviation (their Table 4)."
    ),
]
StdKind = Annotated[
    Literal["sample", "population"],
    Field(
        description="Which standard deviation zscore and std divide by: the code's (sample) or the paper's "
        "(population)."
    ),
]
Reduction = Annotated[
    Literal["batch", "mean"],
    Field(description="The divergence is averaged over the batch, or over batch and classes (K times smaller)."),
    Since("batch"),
]
Exponent = Annotated[
    float,
    Field(strict=True, gt=0, le=100, description="The teacher's probabilities are raised to it (gamma, 1/T)."),
]
