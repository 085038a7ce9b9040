"""Fusion of the features of two sensors."""

from .residual import AddFusion, ConcatFusion

__all__ = ['AddFusion', 'ConcatFusion']
