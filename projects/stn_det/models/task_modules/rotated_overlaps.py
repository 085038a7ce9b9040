"""Overlaps of oriented boxes where mmdet's assigners ask for an ``iou_calculator``."""

import torch
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import BaseBoxes, get_box_tensor
from torch import Tensor

from ...errors import InputError
from ...ops import box_iou_rotated


@TASK_UTILS.register_module()
class RBboxOverlaps2D:
    """Exact rotated IoU or IoF of oriented boxes, for ``iou_calculator=dict(type='RBboxOverlaps2D')``.

    Computed in float32 or wider whatever autocast says, without a gradient. Beyond the result the memory does not grow
    with the number of boxes.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import TASK_UTILS
        >>> overlaps = TASK_UTILS.build(dict(type='RBboxOverlaps2D'))
        >>> flat = torch.tensor([[50.0, 50.0, 40.0, 20.0, 0.0]])
        >>> overlaps(flat, torch.tensor([[50.0, 50.0, 40.0, 20.0, 0.0], [90.0, 50.0, 40.0, 20.0, 0.0]]))
        tensor([[1., 0.]])
    """

    @torch.no_grad()
    def __call__(
        self, bboxes1: Tensor | BaseBoxes, bboxes2: Tensor | BaseBoxes, mode: str = 'iou', is_aligned: bool = False
    ) -> Tensor:
        """Overlap of boxes.

        Args:
            bboxes1: ``(M, 5)`` boxes (cx, cy, w, h, theta), pixels and radians; an empty tensor may have any shape.
            bboxes2: ``(N, 5)`` boxes in the same frame.
            mode: 'iou', or 'iof' for the intersection over the area of ``bboxes1``.
            is_aligned: compare row k with row k only; N equals M then.

        Returns:
            ``(M, N)``, or ``(M,)`` if aligned, in [0, 1]; boxes of zero area overlap nothing.

        Raises:
            InputError: If boxes are not rotated ones, the mode is unknown, or aligned boxes differ in number.
        """
        first, second = _rboxes('bboxes1', bboxes1), _rboxes('bboxes2', bboxes2)
        return box_iou_rotated(first, second, aligned=is_aligned, mode=mode)

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


def _rboxes(name: str, boxes: Tensor | BaseBoxes) -> Tensor:
    """Boxes as a tensor ``(M, 5)``; mmdet writes no boxes as ``(0, 4)`` in places."""
    tensor: Tensor = get_box_tensor(boxes)
    if tensor.numel() == 0:
        return tensor.new_zeros((0, 5))
    if tensor.dim() != 2 or tensor.shape[1] != 5:
        raise InputError(
            f'{name} has shape {tuple(tensor.shape)}, expected (M, 5) as (cx, cy, w, h, theta); convert other boxes '
            f"first, labels by dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')) in the pipeline"
        )
    return tensor
