"""Benchmarks of knowledge distillation: one study.yaml in, a paper-style table out."""

__version__ = "0.1.0"
