"""Backbones beyond those of mmdet."""

from .large_kernel_cspnext import LargeKernelCSPNeXt, LargeKernelSelection

__all__ = ['LargeKernelCSPNeXt', 'LargeKernelSelection']
