"""Scene generator: seeded overhead scenes with exact oriented labels, in DOTA's format."""

from stn_det.datasets.scenes.config import CLASSES, DEFAULT_KINDS, KINDS, SceneConfig
from stn_det.datasets.scenes.generator import GENERATOR_VERSION, generate_scene
from stn_det.datasets.scenes.labels import to_dota_text
from stn_det.datasets.scenes.records import Scene, SceneObject, SecondView
from stn_det.datasets.scenes.writer import write_scenes

__all__ = [
    'CLASSES',
    'DEFAULT_KINDS',
    'GENERATOR_VERSION',
    'KINDS',
    'Scene',
    'SceneConfig',
    'SceneObject',
    'SecondView',
    'generate_scene',
    'to_dota_text',
    'write_scenes',
]
