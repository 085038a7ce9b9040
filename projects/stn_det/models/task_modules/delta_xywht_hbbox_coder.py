"""Oriented boxes as five numbers relative to a horizontal box: the first step of RoI Transformer."""

from collections.abc import Sequence

import torch
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import BaseBoxes, get_box_tensor
from torch import Tensor

from ...errors import InputError
from ...structures import RotatedBoxes
from .delta_xywht_coder import DeltaXYWHTRBBoxCoder


@TASK_UTILS.register_module()
class DeltaXYWHTHBBoxCoder(DeltaXYWHTRBBoxCoder):
    """Codes an oriented box relative to a horizontal one as (dx, dy, dw, dh, dtheta).

    The horizontal box counts as an oriented one with theta = 0, w its width and h its height; ``DeltaXYWHTRBBoxCoder``
    has the formulas and the options. With ``edge_swap`` the angle lies in [-pi/4, pi/4), so that a box of either
    writing is coded by how far the horizontal box has to be turned. Used by "Learning RoI Transformer for Detecting
    Oriented Objects in Aerial Images" https://arxiv.org/abs/1812.00155, whose RRoI learner predicts such numbers.

    Args:
        Those of ``DeltaXYWHTRBBoxCoder``.

    Raises:
        ConfigError: As ``DeltaXYWHTRBBoxCoder`` does.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import TASK_UTILS
        >>> coder = TASK_UTILS.build(dict(type='DeltaXYWHTHBBoxCoder', edge_swap=True))
        >>> coder.encode(torch.tensor([[0.0, 0.0, 10.0, 20.0]]), torch.tensor([[6.0, 10.0, 20.0, 10.0, -1.5]]))
        tensor([[0.1000, 0.0000, 0.0000, 0.0000, 0.0708]])
    """

    def encode(self, bboxes: Tensor | BaseBoxes, gt_bboxes: Tensor | BaseBoxes) -> Tensor:
        """Code of oriented boxes relative to horizontal ones.

        Args:
            bboxes: ``(..., 4)`` horizontal boxes (x1, y1, x2, y2), pixels.
            gt_bboxes: ``(..., 5)`` oriented boxes, le90, in the same frame.

        Returns:
            ``(..., 5)`` normalised numbers, float32 or wider.

        Raises:
            InputError: If the last dimensions are not 4 and 5.
        """
        return super().encode(_turned_by_zero(bboxes), gt_bboxes)

    def decode(
        self,
        bboxes: Tensor | BaseBoxes,
        pred_bboxes: Tensor,
        max_shape: Sequence[int] | None = None,
        wh_ratio_clip: float = 16 / 1000,
    ) -> Tensor | RotatedBoxes:
        """Oriented boxes of a code.

        Args:
            bboxes: ``(..., 4)`` horizontal boxes, pixels.
            pred_bboxes: ``(..., K * 5)`` normalised numbers, K boxes a prior.
            max_shape: Part of mmdet's interface, without effect: oriented boxes are never clipped.
            wh_ratio_clip: A side grows or shrinks at most to ``1 / wh_ratio_clip`` or ``wh_ratio_clip`` of the prior's.

        Returns:
            ``(..., K * 5)`` oriented boxes as ``DeltaXYWHTRBBoxCoder.decode`` writes them.

        Raises:
            InputError: If the horizontal boxes do not end in 4 numbers, or the code in a multiple of 5.
        """
        return super().decode(_turned_by_zero(bboxes), pred_bboxes, max_shape, wh_ratio_clip)


def _turned_by_zero(hboxes: Tensor | BaseBoxes) -> Tensor:
    """Horizontal boxes (..., 4) as (cx, cy, width, height, 0): not le90, since a tall one keeps theta = 0."""
    tensor: Tensor = get_box_tensor(hboxes)
    if tensor.shape[-1] != 4:
        raise InputError(f'bboxes has shape {tuple(tensor.shape)}, expected (..., 4) as (x1, y1, x2, y2)')
    low, high = tensor[..., :2], tensor[..., 2:]
    return torch.cat([(low + high) / 2, high - low, torch.zeros_like(tensor[..., :1])], -1)
