"""Pure functions of evaluation: numpy and torch only, no framework."""

from .average_precision import average_precision
from .matching import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE, ClassMatches, match_detections, match_image
from .mean_ap import COCO_IOU_THRESHOLDS, ClassResult, MeanAPResult, eval_oriented_map, precision_recall
from .records import Detections, Truths

__all__ = [
    'COCO_IOU_THRESHOLDS',
    'FALSE_POSITIVE',
    'IGNORED',
    'TRUE_POSITIVE',
    'ClassMatches',
    'ClassResult',
    'Detections',
    'MeanAPResult',
    'Truths',
    'average_precision',
    'eval_oriented_map',
    'match_detections',
    'match_image',
    'precision_recall',
]
