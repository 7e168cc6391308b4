"""Constants of the methods that train something before the main epochs."""

from typing import Annotated

from pydantic import Field

from kdharness.core.types import Epochs

InitEpochs = Annotated[
    int,
    Field(strict=True, ge=0, le=10_000, description="Epochs of the first phase; the main ones come after."),
    Epochs(is_phase=True),
]
InitRate = Annotated[float, Field(strict=True, gt=0, le=10, description="Learning rate of the first phase.")]
