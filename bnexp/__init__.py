"""Controlled experiments on normalization layers in neural networks."""

__version__ = "0.1.0"
