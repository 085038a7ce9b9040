"""Everything the command line does, as functions.

Names are looked up when first used, so that ``doctor`` runs where mmengine or torch cannot be imported. No file here is
named like a function: Python would put the module in the function's place.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    'AttentionPicture': 'attention',
    'DistortionReport': 'distortion',
    'ImagePrediction': 'predictor',
    'PredictResult': 'predicting',
    'Predictor': 'predictor',
    'Report': 'environment',
    'TrainResult': 'training',
    'checkpoint_classes': 'classes',
    'config_classes': 'classes',
    'distortion_benchmark': 'distortion',
    'doctor': 'environment',
    'draw_attention': 'attention',
    'find_config': 'configs',
    'list_configs': 'configs',
    'load_config': 'configs',
    'predict': 'predicting',
    'run_demo': 'demo',
    'test': 'testing',
    'train': 'training',
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import the module that holds a public name, once it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}; it offers {", ".join(__all__)}')
    value = getattr(import_module(f'.{_HOMES[name]}', __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
