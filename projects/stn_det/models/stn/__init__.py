"""Spatial transformers of whole images: networks that look at a thumbnail, the warp they ask for, losses on it."""

from .localizers import LocalizationNetwork
from .orientation import OrientationLocalizer
from .regularizers import (
    area_loss,
    bending_loss,
    coverage_loss,
    orientation_prior_loss,
    parameter_loss,
    pose_prior_loss,
)
from .spatial_transformer import SpatialTransformer, Transformed

__all__ = [
    'LocalizationNetwork',
    'OrientationLocalizer',
    'SpatialTransformer',
    'Transformed',
    'area_loss',
    'bending_loss',
    'coverage_loss',
    'orientation_prior_loss',
    'parameter_loss',
    'pose_prior_loss',
]
