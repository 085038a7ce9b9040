"""Oriented boxes as six numbers relative to a horizontal anchor: the box around them, and where they touch it."""

import math
from collections.abc import Sequence

import torch
from mmdet.models.task_modules.coders import BaseBBoxCoder
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import BaseBoxes, get_box_tensor
from torch import Tensor

from ...checks import compute_dtype
from ...errors import ConfigError, InputError
from ...geometry import canonicalize_rboxes, rbox_to_hbox

MIN_SIDE = 1e-3  # pixels; a side of zero has no logarithm
# A box that leaves its outer box by less than this at a corner counts as upright: labels are no finer.
UPRIGHT_PIXELS = 0.1


@TASK_UTILS.register_module()
class MidpointOffsetCoder(BaseBBoxCoder):
    """Midpoint offsets of "Oriented R-CNN for Object Detection" https://arxiv.org/abs/2108.05699.

    The six numbers are (dx, dy, dw, dh, da, db). The first four code the horizontal box around the object relative to
    the anchor, as for horizontal detection. The object touches the upper side of that box at ``da`` of its width to the
    right of the middle, and the right side at ``db`` of its height below the middle; the other two corners mirror these
    at the centre. Predicted numbers make a parallelogram; decoding stretches its shorter diagonal to the longer one,
    which gives a rectangle with the same directions of diagonals.

    An upright box touches with whole sides. It is coded by its right upper and right lower corner, (da, db) =
    (0.5, 0.5), and so is a box within a tenth of a pixel of that, so that noise of a label does not flip the signs.

    Args:
        target_means: Subtracted from the six numbers.
        target_stds: The six numbers are divided by these.
        angle_version: Form of the boxes; 'le90' is the only one in this package.

    Raises:
        ConfigError: If there are not six means and six positive deviations, or for another angle version.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import TASK_UTILS
        >>> coder = TASK_UTILS.build(dict(type='MidpointOffsetCoder'))
        >>> coder.encode(torch.tensor([[0.0, 0.0, 20.0, 10.0]]), torch.tensor([[15.0, 5.0, 20.0, 10.0, 0.0]]))
        tensor([[0.2500, 0.0000, 0.0000, 0.0000, 0.5000, 0.5000]])
    """

    encode_size = 6

    def __init__(
        self,
        target_means: Sequence[float] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        target_stds: Sequence[float] = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
        angle_version: str = 'le90',
    ) -> None:
        super().__init__()
        if len(target_means) != 6 or len(target_stds) != 6 or min(target_stds) <= 0:
            raise ConfigError(
                f'target_means is {tuple(target_means)} and target_stds is {tuple(target_stds)}; expected six numbers '
                f'each, the deviations above 0'
            )
        if angle_version != 'le90':
            raise ConfigError(f"angle_version is {angle_version!r}; expected 'le90', the form of all boxes here")
        self.means, self.stds = tuple(target_means), tuple(target_stds)

    def encode(self, bboxes: Tensor | BaseBoxes, gt_bboxes: Tensor | BaseBoxes) -> Tensor:
        """Six numbers of oriented boxes at horizontal anchors.

        Args:
            bboxes: ``(..., 4)`` anchors (x1, y1, x2, y2), pixels.
            gt_bboxes: ``(..., 5)`` boxes (cx, cy, w, h, theta) in the same frame, radians.

        Returns:
            ``(..., 6)`` normalised numbers, float32 or wider; sides below a thousandth of a pixel count as that.

        Raises:
            InputError: If the last dimensions are not 4 and 5.
        """
        anchors, boxes = get_box_tensor(bboxes), get_box_tensor(gt_bboxes)
        _check(bboxes=(anchors, 4), gt_bboxes=(boxes, 5))
        dtype = compute_dtype(anchors, boxes)
        centre, sides = _centre_and_sides(anchors.to(dtype))
        boxes = boxes.to(dtype)
        outer_centre, outer_sides = _centre_and_sides(rbox_to_hbox(boxes))
        offsets = _touching_points(boxes[..., 2:4], boxes[..., 4]) / outer_sides
        code = torch.cat([(outer_centre - centre) / sides, (outer_sides / sides).log(), offsets], -1)
        return (code - code.new_tensor(self.means)) / code.new_tensor(self.stds)

    def decode(
        self,
        bboxes: Tensor | BaseBoxes,
        pred_bboxes: Tensor,
        max_shape: Sequence[int] | None = None,
        wh_ratio_clip: float = 16 / 1000,
    ) -> Tensor:
        """Oriented boxes of a code.

        Args:
            bboxes: ``(..., 4)`` anchors, pixels.
            pred_bboxes: ``(..., 6)`` normalised numbers.
            max_shape: Part of mmdet's interface, without effect: oriented boxes are never clipped.
            wh_ratio_clip: A side of the outer box is at most ``1 / wh_ratio_clip`` times that of the anchor, and at
                least ``wh_ratio_clip`` times.

        Returns:
            ``(..., 5)`` boxes (cx, cy, w, h, theta), le90, float32 or wider. Offsets beyond the corners of the outer
            box count as the corners.

        Raises:
            InputError: If the last dimensions are not 4 and 6.
        """
        anchors: Tensor = get_box_tensor(bboxes)
        _check(bboxes=(anchors, 4), pred_bboxes=(pred_bboxes, 6))
        dtype = compute_dtype(anchors, pred_bboxes)
        centre, sides = _centre_and_sides(anchors.to(dtype))
        code = pred_bboxes.to(dtype)
        code = code * code.new_tensor(self.stds) + code.new_tensor(self.means)
        largest = abs(math.log(wh_ratio_clip))
        outer = sides * code[..., 2:4].clamp(-largest, largest).exp()
        offset = code[..., 4:6].clamp(-0.5, 0.5) * outer
        top = torch.stack([offset[..., 0], -outer[..., 1] / 2], -1)  # from the centre to the upper side
        right = torch.stack([outer[..., 0] / 2, offset[..., 1]], -1)
        return _rectangle(centre + code[..., :2] * sides, top, right)


def _rectangle(centre: Tensor, top: Tensor, right: Tensor) -> Tensor:
    """Rectangle (..., 5) around a centre with half diagonals along two vectors (..., 2), as long as the longer one."""
    top_length, right_length = top.norm(dim=-1, keepdim=True), right.norm(dim=-1, keepdim=True)
    longer = torch.maximum(top_length, right_length)
    top, right = top * (longer / top_length), right * (longer / right_length)
    first, second = right - top, right + top  # two sides, perpendicular to each other
    first_length, second_length = _length(first), _length(second)
    swap = first_length < second_length
    along = torch.where(swap.unsqueeze(-1), second, first)
    theta = torch.atan2(along[..., 1], along[..., 0])
    long = torch.where(swap, second_length, first_length)
    short = torch.where(swap, first_length, second_length)
    return canonicalize_rboxes(torch.cat([centre, torch.stack([long, short, theta], -1)], -1))


def _length(vectors: Tensor) -> Tensor:
    """Length (...,) of vectors (..., 2), with a finite gradient where it is zero."""
    return (vectors.square().sum(-1)).clamp(min=1e-12).sqrt()


def _touching_points(sides: Tensor, theta: Tensor) -> Tensor:
    """Pixels (..., 2) that the topmost corner lies right of the centre, and the rightmost one below it.

    For a box turned clockwise by less than a right angle these are its corners (-w/2, -h/2) and (w/2, -h/2); for one
    turned the other way both signs change.
    """
    cos, sin = theta.cos(), theta.sin()
    along_x, along_y = sides[..., 0] * cos.abs(), sides[..., 0] * sin.abs()
    across_x, across_y = sides[..., 1] * sin.abs(), sides[..., 1] * cos.abs()
    upright = sides.amax(-1) * torch.minimum(cos.abs(), sin.abs()) < UPRIGHT_PIXELS
    clockwise = (sin * cos > 0) & ~upright
    points = torch.stack([across_x - along_x, along_y - across_y], -1) / 2
    upright_points = torch.stack([across_x + along_x, along_y + across_y], -1) / 2
    points = torch.where(clockwise.unsqueeze(-1), points, -points)
    return torch.where(upright.unsqueeze(-1), upright_points, points)


def _centre_and_sides(hboxes: Tensor) -> tuple[Tensor, Tensor]:
    low, high = hboxes[..., :2], hboxes[..., 2:]
    return (low + high) / 2, (high - low).clamp(min=MIN_SIDE)


def _check(**boxes: tuple[Tensor, int]) -> None:
    for name, (tensor, size) in boxes.items():
        if tensor.shape[-1] != size:
            raise InputError(f'{name} has shape {tuple(tensor.shape)}, expected (..., {size})')
