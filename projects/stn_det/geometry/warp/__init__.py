"""Batched warps between frames that move images, points and boxes by one map; conventions in ``base.py``."""

from .base import Warp
from .composite import CompositeWarp
from .families import FAMILIES, WarpLimits, bound, num_parameters, warp_matrix
from .matrix import MatrixWarp
from .thin_plate import ThinPlateWarp

__all__ = [
    'FAMILIES',
    'CompositeWarp',
    'MatrixWarp',
    'ThinPlateWarp',
    'Warp',
    'WarpLimits',
    'bound',
    'num_parameters',
    'warp_matrix',
]
