"""Detectors that are more than a backbone, a neck and a head."""

from .aligned_single_stage import AlignedSingleStageDetector
from .oriented_tta import OrientedTTAModel
from .rotated_deformable_detr import RotatedDeformableDETR
from .rotated_dino import RotatedDINO
from .stn_detector import STNDetector
from .two_stream import TwoStreamDetector

__all__ = [
    'AlignedSingleStageDetector',
    'OrientedTTAModel',
    'RotatedDINO',
    'RotatedDeformableDETR',
    'STNDetector',
    'TwoStreamDetector',
]
