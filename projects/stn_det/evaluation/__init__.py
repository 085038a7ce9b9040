"""Evaluation of oriented detections: pure functions, and the metrics that mmdet configs name."""

from .dota_metric import DOTAMetric
from .truth_metric import TruthMetric

__all__ = ['DOTAMetric', 'TruthMetric']
