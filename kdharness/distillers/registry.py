"""The methods by name."""

from typing import TYPE_CHECKING

from kdharness.core.registry import Registry

if TYPE_CHECKING:  # the name list must not cost an import of torch
    from kdharness.core.types import Distiller

DISTILLERS: "Registry[type[Distiller]]" = Registry(
    "distiller", "kdharness.distillers", of_your_own="one of your own comes with `kdharness --plugin MODULE ...`"
)
