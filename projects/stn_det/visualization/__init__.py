"""Pictures of oriented boxes, galleries of predictions and curves of a run.

``OrientedVisualizer`` is imported on first use, because it alone needs mmdet.
"""

from typing import Any

from .attention import QueryAttention, attention_sheet, draw_query_attention
from .curves import plot_pr_curves, plot_training_curves
from .distortion_curves import DistortionPanel, plot_distortion_curves
from .draw import draw_oriented_boxes
from .gallery import GallerySample, prediction_gallery
from .palette import class_colors
from .transformer import draw_transformer
from .warp_grid import draw_warp_grid

__all__ = [
    'DistortionPanel',
    'GallerySample',
    'OrientedVisualizer',
    'QueryAttention',
    'attention_sheet',
    'class_colors',
    'draw_oriented_boxes',
    'draw_query_attention',
    'draw_transformer',
    'draw_warp_grid',
    'plot_distortion_curves',
    'plot_pr_curves',
    'plot_training_curves',
    'prediction_gallery',
]


def __getattr__(name: str) -> Any:
    if name == 'OrientedVisualizer':
        from .visualizer import OrientedVisualizer

        return OrientedVisualizer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
