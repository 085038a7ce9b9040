"""Oriented boxes as five numbers relative to an oriented prior: centre, log sides, turn."""

import math
from collections.abc import Sequence

import torch
from mmdet.models.task_modules.coders import BaseBBoxCoder
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import BaseBoxes, get_box_tensor
from torch import Tensor

from ...checks import compute_dtype
from ...errors import ConfigError, InputError
from ...geometry import canonicalize_rboxes, normalize_angle
from ...structures import RotatedBoxes

MIN_SIDE = 1e-3  # pixels; a side of zero has no logarithm


@TASK_UTILS.register_module()
class DeltaXYWHTRBBoxCoder(BaseBBoxCoder):
    """Codes an oriented box relative to an oriented prior as (dx, dy, dw, dh, dtheta).

    ``dx = (x - x_p) / w_p``, ``dw = log(w / w_p)``, likewise for y and h, and ``dtheta = theta - theta_p`` in
    [-pi/2, pi/2): the parameters of "Rich feature hierarchies for accurate object detection and semantic segmentation"
    https://arxiv.org/abs/1311.2524 with a turn, as in "Align Deep Features for Oriented Object Detection"
    https://arxiv.org/abs/2008.09397. The numbers are then normalised by ``target_means`` and ``target_stds``.

    Args:
        target_means: Subtracted from the five numbers.
        target_stds: The five numbers are divided by these.
        angle_version: Form of the boxes; 'le90' is the only one in this package.
        norm_factor: ``dtheta`` is divided by ``norm_factor * pi``; None leaves it in radians.
        edge_swap: Code whichever of the box's two writings (w, h, theta) and (h, w, theta + pi/2) is turned less
            against the prior, so that dtheta lies in [-pi/4, pi/4); decoded boxes are le90 then.
        proj_xy: Measure dx and dy along the sides of the prior instead of those of the image.
        add_ctr_clamp: Bound the decoded shift of the centre by ``ctr_clamp``.
        ctr_clamp: Largest shift in each direction, pixels.
        use_box_type: Return ``RotatedBoxes`` instead of a tensor.

    Raises:
        ConfigError: If there are not five means and five positive deviations, or for another angle version.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import TASK_UTILS
        >>> coder = TASK_UTILS.build(dict(type='DeltaXYWHTRBBoxCoder'))
        >>> prior = torch.tensor([[16.0, 16.0, 32.0, 32.0, 0.0]])
        >>> coder.encode(prior, torch.tensor([[24.0, 16.0, 32.0, 32.0, 0.5]]))
        tensor([[0.2500, 0.0000, 0.0000, 0.0000, 0.5000]])
    """

    encode_size = 5

    def __init__(
        self,
        target_means: Sequence[float] = (0.0, 0.0, 0.0, 0.0, 0.0),
        target_stds: Sequence[float] = (1.0, 1.0, 1.0, 1.0, 1.0),
        angle_version: str = 'le90',
        norm_factor: float | None = None,
        edge_swap: bool = False,
        proj_xy: bool = False,
        add_ctr_clamp: bool = False,
        ctr_clamp: float = 32,
        use_box_type: bool = False,
    ) -> None:
        super().__init__(use_box_type=use_box_type)
        if len(target_means) != 5 or len(target_stds) != 5 or min(target_stds) <= 0:
            raise ConfigError(
                f'target_means is {tuple(target_means)} and target_stds is {tuple(target_stds)}; expected five numbers '
                f'each, the deviations above 0'
            )
        if angle_version != 'le90':
            raise ConfigError(f"angle_version is {angle_version!r}; expected 'le90', the form of all boxes here")
        if norm_factor is not None and not norm_factor > 0:
            raise ConfigError(f'norm_factor is {norm_factor!r}; expected a number above 0, or None for radians')
        self.means, self.stds = tuple(target_means), tuple(target_stds)
        self.angle_unit = 1.0 if norm_factor is None else norm_factor * math.pi
        self.edge_swap = edge_swap
        self.proj_xy = proj_xy
        self.ctr_clamp = ctr_clamp if add_ctr_clamp else None

    def encode(self, bboxes: Tensor | BaseBoxes, gt_bboxes: Tensor | BaseBoxes) -> Tensor:
        """Code of boxes relative to priors.

        Args:
            bboxes: ``(..., 5)`` priors (cx, cy, w, h, theta), pixels and radians.
            gt_bboxes: ``(..., 5)`` boxes, le90, in the same frame.

        Returns:
            ``(..., 5)`` normalised numbers, float32 or wider; sides below a thousandth of a pixel count as that.

        Raises:
            InputError: If the last dimension of one of them is not 5.
        """
        priors, boxes = _rboxes('bboxes', bboxes), _rboxes('gt_bboxes', gt_bboxes)
        dtype = compute_dtype(priors, boxes)
        priors, boxes = priors.to(dtype), boxes.to(dtype)
        sides, angle = _sides(priors), priors[..., 4]
        target_sides = _sides(boxes)
        turn = normalize_angle(boxes[..., 4] - angle)
        if self.edge_swap:
            swapped = (turn < -math.pi / 4) | (turn >= math.pi / 4)
            turn = torch.where(swapped, normalize_angle(turn, -math.pi / 4, math.pi / 2), turn)
            target_sides = torch.where(swapped.unsqueeze(-1), target_sides.flip(-1), target_sides)
        shift = boxes[..., :2] - priors[..., :2]
        if self.proj_xy:
            shift = _turned(shift, -angle)
        code = torch.cat([shift / sides, (target_sides / sides).log(), (turn / self.angle_unit).unsqueeze(-1)], -1)
        return (code - code.new_tensor(self.means)) / code.new_tensor(self.stds)

    def decode(
        self,
        bboxes: Tensor | BaseBoxes,
        pred_bboxes: Tensor,
        max_shape: Sequence[int] | None = None,
        wh_ratio_clip: float = 16 / 1000,
    ) -> Tensor | RotatedBoxes:
        """Boxes of a code.

        Args:
            bboxes: ``(..., 5)`` priors, pixels and radians.
            pred_bboxes: ``(..., K * 5)`` normalised numbers, K boxes a prior.
            max_shape: Part of mmdet's interface, without effect: oriented boxes are never clipped.
            wh_ratio_clip: A side grows or shrinks at most to ``1 / wh_ratio_clip`` or ``wh_ratio_clip`` of the prior's.

        Returns:
            ``(..., K * 5)`` boxes with theta in [-pi/2, pi/2), float32 or wider. With ``edge_swap`` they are le90;
            without, w may be smaller than h, and ``canonicalize_rboxes`` makes them le90. ``RotatedBoxes`` of
            ``(..., K, 5)``, with the K dropped if it is 1, for ``use_box_type``.

        Raises:
            InputError: If priors do not end in 5 numbers, or the code in a multiple of 5.
        """
        priors = _rboxes('bboxes', bboxes)
        if pred_bboxes.shape[-1] % 5 or pred_bboxes.shape[:-1] != priors.shape[:-1]:
            raise InputError(
                f'pred_bboxes has shape {tuple(pred_bboxes.shape)} for priors of shape {tuple(priors.shape)}; expected '
                f'(..., K * 5) with one row a prior'
            )
        dtype = compute_dtype(priors, pred_bboxes)
        priors = priors.to(dtype).unsqueeze(-2)
        code = pred_bboxes.to(dtype).unflatten(-1, (-1, 5))
        boxes = self._decode(priors, code * code.new_tensor(self.stds) + code.new_tensor(self.means), wh_ratio_clip)
        if self.use_box_type:
            return RotatedBoxes(boxes.squeeze(-2), clone=False)
        return boxes.flatten(-2)

    def _decode(self, priors: Tensor, code: Tensor, wh_ratio_clip: float) -> Tensor:
        """Boxes ``(..., K, 5)`` of numbers ``(..., K, 5)`` at priors ``(..., 1, 5)``."""
        sides, angle = _sides(priors), priors[..., 4]
        shift = code[..., :2] * sides
        if self.ctr_clamp is not None:
            shift = shift.clamp(-self.ctr_clamp, self.ctr_clamp)
        if self.proj_xy:
            shift = _turned(shift, angle)
        largest = abs(math.log(wh_ratio_clip))
        grown = sides * code[..., 2:4].clamp(-largest, largest).exp()
        theta = normalize_angle(angle + code[..., 4] * self.angle_unit)
        boxes = torch.cat([priors[..., :2] + shift, grown, theta.unsqueeze(-1)], -1)
        return canonicalize_rboxes(boxes) if self.edge_swap else boxes


def _rboxes(name: str, boxes: Tensor | BaseBoxes) -> Tensor:
    tensor: Tensor = get_box_tensor(boxes)
    if tensor.shape[-1] != 5:
        raise InputError(f'{name} has shape {tuple(tensor.shape)}, expected (..., 5) as (cx, cy, w, h, theta)')
    return tensor


def _sides(boxes: Tensor) -> Tensor:
    return boxes[..., 2:4].clamp(min=MIN_SIDE)


def _turned(vectors: Tensor, angle: Tensor) -> Tensor:
    """Vectors ``(..., 2)`` (x, y) turned by angles ``(...,)``, clockwise on screen."""
    x, y = vectors.unbind(-1)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos], -1)
