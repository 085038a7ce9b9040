"""Spatial transformers of images and of sensors."""

from .cross_sensor_align import CrossSensorAlign

__all__ = ['CrossSensorAlign']
