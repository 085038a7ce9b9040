"""Rotated boxes (cx, cy, w, h, theta) as an mmdet box type."""

import torch
from mmdet.structures.bbox import BaseBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from torch import Tensor

from stn_det.geometry import (
    canonicalize_rboxes,
    qbox_to_rbox,
    rbox_area,
    rbox_to_qbox,
    rboxes_contain,
    transform_rboxes,
)

from .masks import quads_of_masks
from .oriented_boxes import OrientedBoxes, pair
from .registration import register_own_box


@register_own_box('rbox')
class RotatedBoxes(OrientedBoxes):
    """Rotated boxes with the mmdet box interface, registered as 'rbox'.

    ``tensor`` holds (..., 5) numbers (cx, cy, w, h, theta) in continuous pixels and radians, theta positive clockwise
    on screen. The constructor stores what it is given. Every in-place operation leaves the boxes in the class's
    ``form``, 'le90'; a subclass with ``form = 'full'`` keeps headings instead.

    Args:
        data: Tensor, array or sequence (..., 5).
        dtype: Type of the boxes; that of ``data`` by default.
        device: Device of the boxes; that of ``data`` by default.
        clone: Whether to copy a tensor.

    Example:
        >>> boxes = RotatedBoxes([[50.0, 40.0, 30.0, 10.0, 0.5]])
        >>> boxes.flip_((100, 200))
        >>> boxes.tensor
        tensor([[150.0000,  40.0000,  30.0000,  10.0000,  -0.5000]])
    """

    box_dim: int = 5
    form: str = 'le90'

    @property
    def centers(self) -> Tensor:
        """Centres (..., 2), pixels."""
        return self.tensor[..., :2]

    @property
    def areas(self) -> Tensor:
        """Areas w * h (...), square pixels."""
        return rbox_area(self.tensor)

    @property
    def widths(self) -> Tensor:
        """Sizes w (...) along theta, pixels: the long side in the form 'le90'."""
        return self.tensor[..., 2]

    @property
    def heights(self) -> Tensor:
        """Sizes h (...) across theta, pixels: the short side in the form 'le90'."""
        return self.tensor[..., 3]

    @property
    def corners(self) -> Tensor:
        """Corners (..., 4, 2), clockwise on screen, from the one at (-w/2, -h/2) of the box frame."""
        return rbox_to_qbox(self.tensor).unflatten(-1, (4, 2))

    def regularize_boxes(self, form: str = 'le90') -> Tensor:
        """The same boxes in a canonical form; the object itself stays as it is.

        Args:
            form: One of 'oc', 'le90', 'le135', 'pi', 'full'.

        Returns:
            (..., 5) boxes.

        Raises:
            InputError: If the form is unknown.
        """
        return canonicalize_rboxes(self.tensor, form)

    def resize_(self, scale_factor: tuple[float, float]) -> None:
        """Scale w and h of the boxes in their own frame, in place; centres stay.

        Args:
            scale_factor: Factors for w and for h.
        """
        centre, sizes, theta = self.tensor.split((2, 2, 1), dim=-1)
        resized = torch.cat([centre, sizes * sizes.new_tensor(pair('scale_factor', scale_factor)), theta], dim=-1)
        self.tensor = canonicalize_rboxes(resized, self.form)

    @staticmethod
    def overlaps(
        boxes1: BaseBoxes, boxes2: BaseBoxes, mode: str = 'iou', is_aligned: bool = False, eps: float = 1e-6
    ) -> Tensor:
        """Overlaps of boxes of any registered types, compared as rotated boxes.

        Args:
            boxes1: M boxes.
            boxes2: N boxes.
            mode: 'iou', or 'iof' for the intersection over the area of ``boxes1``.
            is_aligned: Whether box i is compared with box i only; M equals N then.
            eps: Part of mmdet's interface, without effect: boxes of zero area overlap by 0.

        Returns:
            (M, N), or (M,) if aligned.
        """
        from stn_det.ops import box_iou_rotated

        first, second = boxes1.convert_to('rbox').tensor, boxes2.convert_to('rbox').tensor
        return box_iou_rotated(first, second, aligned=is_aligned, mode=mode)

    @staticmethod
    def from_instance_masks(masks: BitmapMasks | PolygonMasks) -> 'RotatedBoxes':
        """Rotated boxes of least area around masks, whole pixels included.

        Args:
            masks: N bitmap or polygon masks.

        Returns:
            N boxes in the form 'le90', float32; zeros for an empty mask.
        """
        return RotatedBoxes(qbox_to_rbox(quads_of_masks(masks)), clone=False)

    def _transform(self, dst_from_src: Tensor) -> None:
        self.tensor = transform_rboxes(self.tensor, dst_from_src, self.form)

    def _contain(self, points: Tensor) -> Tensor:
        return rboxes_contain(self.tensor, points)
