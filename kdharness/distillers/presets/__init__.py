"""The papers' constants as data: one TOML file per paper."""

from kdharness.distillers.presets.reader import PRESETS, Preset, load_preset

__all__ = ["PRESETS", "Preset", "load_preset"]
