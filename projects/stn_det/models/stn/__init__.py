"""Spatial transformers of whole images, losses on their warps, and alignment of one sensor to another."""

from .cross_sensor_align import CrossSensorAlign
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
    'CrossSensorAlign',
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
