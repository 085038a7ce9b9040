"""Evaluation of oriented detections: pure functions, and the metric that mmdet configs name."""

from .dota_metric import DOTAMetric

__all__ = ['DOTAMetric']
