"""Removal of boxes too small to learn from."""

import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import BaseBoxes
from mmdet.structures.bbox.box_type import autocast_box_type

from stn_det.errors import ConfigError

from .common import box_type_name, check_sample, ignore_flags, keep_instances

_ACTIONS = ('drop', 'ignore')


@TRANSFORMS.register_module()
class FilterOrientedBoxes(BaseTransform):
    """Remove boxes whose shorter side is below a limit, with their labels and flags; non-finite boxes always go.

    Put it after the geometric transforms. Sides are measured on the box itself ('rbox', and 'qbox' through its
    smallest enclosing rectangle), not on its upright extent.

    Args:
        min_size: Smallest shorter side in pixels.
        action: 'drop' removes small boxes, except regions to ignore; 'ignore' turns them into regions to ignore.
        keep_empty: Whether a sample without a positive is fine. If not, such a sample is None and the dataset draws
            another one.

    Raises:
        ConfigError: An argument is out of range.
        InputError: The boxes are of an unknown type.
    """

    box_types = ('hbox', 'rbox', 'qbox')

    def __init__(self, min_size: float = 2.0, action: str = 'drop', keep_empty: bool = True) -> None:
        if not min_size >= 0:
            raise ConfigError(f'FilterOrientedBoxes: min_size is {min_size!r}, expected pixels of 0 or more.')
        if action not in _ACTIONS:
            raise ConfigError(f'FilterOrientedBoxes: action is {action!r}, expected one of {_ACTIONS}.')
        self.min_size = min_size
        self.action = action
        self.keep_empty = keep_empty

    @autocast_box_type()
    def transform(self, results: dict) -> dict | None:
        """Filter all per-instance entries of the sample."""
        check_sample(results, type(self).__name__, self.box_types)
        if results.get('gt_bboxes') is None:
            return results
        keep_instances(results, torch.isfinite(results['gt_bboxes'].tensor).all(-1))
        small = shorter_sides(results['gt_bboxes']) < self.min_size
        if self.action == 'drop':
            keep_instances(results, ~small | ignore_flags(results))
        else:
            results['gt_ignore_flags'] = (ignore_flags(results) | small).numpy()
        if not self.keep_empty and bool(ignore_flags(results).all()):
            return None
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(min_size={self.min_size}, action={self.action!r}, keep_empty={self.keep_empty})'


def shorter_sides(boxes: BaseBoxes) -> torch.Tensor:
    """Shorter side ``(N,)`` in pixels of each box."""
    if box_type_name(boxes) == 'qbox':
        boxes = boxes.convert_to('rbox')
    return torch.minimum(boxes.widths, boxes.heights)
