"""Preprocessors between data loader and model."""

from .paired import PairedDetDataPreprocessor

__all__ = ['PairedDetDataPreprocessor']
