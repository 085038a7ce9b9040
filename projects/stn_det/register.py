"""Importing this module registers everything with mmdet's registries: the one name a config needs.

custom_imports = dict(imports=['stn_det.register'], allow_failed_imports=False)
"""

# isort: off
# The bridge comes first: with an mmcv that has no compiled operators, mmdet cannot be imported before it stands.
from . import mmcv_bridge
from . import engine, evaluation, models, registry, structures
from .datasets import dior, dota, hrsc, rotated_coco, transforms
from .engine.resume import allow_mmengine_checkpoints
from .visualization import visualizer
# isort: on

allow_mmengine_checkpoints()

__all__ = [
    'dior',
    'dota',
    'engine',
    'evaluation',
    'hrsc',
    'mmcv_bridge',
    'models',
    'registry',
    'rotated_coco',
    'structures',
    'transforms',
    'visualizer',
]
