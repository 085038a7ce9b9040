"""mmdet's visualiser for oriented boxes: works with ``tools/test.py --show-dir`` and ``DetVisualizationHook``."""

from collections.abc import Sequence

import numpy as np
from mmdet.registry import VISUALIZERS
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData

from .draw import draw_oriented_boxes
from .outlines import to_array
from .palette import Color

ORIENTED_DIMS = (5, 8)


@VISUALIZERS.register_module()
class OrientedVisualizer(DetLocalVisualizer):
    """Draws rboxes and qboxes; everything else as mmdet's ``DetLocalVisualizer`` does.

    Args:
        line_width: thickness of outlines in pixels, by default as fits the image and each object.
        heading: mark the front of rboxes, their +w end.
        text: draw labels and legend.
        **kwargs: arguments of ``DetLocalVisualizer``: ``name``, ``vis_backends``, ``save_dir``, ...

    Example:
        >>> visualizer = dict(type='OrientedVisualizer', vis_backends=[dict(type='LocalVisBackend')])
    """

    def __init__(
        self,
        name: str = 'visualizer',
        line_width: int | None = None,
        heading: bool = True,
        text: bool = True,
        **kwargs: object,
    ) -> None:
        super().__init__(name=name, line_width=3 if line_width is None else line_width, **kwargs)
        self.thickness = line_width
        self.heading = heading
        self.text = text

    def _draw_instances(
        self,
        image: np.ndarray,
        instances: InstanceData,
        classes: Sequence[str] | None,
        palette: Sequence[Color] | None,
    ) -> np.ndarray:
        """Draw truths or predictions on an image (H, W, 3) RGB; returns the drawn image."""
        if 'bboxes' not in instances or to_array(instances.bboxes).shape[-1] not in ORIENTED_DIMS:
            return super()._draw_instances(image, instances, classes, palette)
        drawn = draw_oriented_boxes(
            image,
            instances.bboxes,
            instances.labels if 'labels' in instances else None,
            instances.scores if 'scores' in instances else None,
            classes=classes,
            palette=palette if isinstance(palette, (list, tuple)) else None,
            thickness=self.thickness,
            heading=self.heading,
            text=self.text,
        )
        self.set_image(drawn)
        return drawn
