"""Quadrilateral boxes (x1, y1, ..., x4, y4) as an mmdet box type."""

from mmdet.structures.bbox import BaseBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from torch import Tensor

from stn_det.geometry import (
    qbox_area,
    qbox_to_rbox,
    qboxes_contain,
    rotation_matrix,
    transform_points,
    transform_qboxes,
)

from .masks import quads_of_masks
from .oriented_boxes import OrientedBoxes, pair
from .registration import register_own_box


@register_own_box('qbox')
class QuadriBoxes(OrientedBoxes):
    """Quadrilaterals with the mmdet box interface, registered as 'qbox'.

    ``tensor`` holds (..., 8) numbers, the four corners in continuous pixels. Their order is kept: corner i of the
    source is corner i of the result, so a mirrored quadrilateral runs counter-clockwise.

    Args:
        data: Tensor, array or sequence (..., 8).
        dtype: Type of the boxes; that of ``data`` by default.
        device: Device of the boxes; that of ``data`` by default.
        clone: Whether to copy a tensor.
    """

    box_dim: int = 8

    @property
    def centers(self) -> Tensor:
        """Means of the four corners (..., 2), pixels."""
        return self.corners.mean(dim=-2)

    @property
    def areas(self) -> Tensor:
        """Areas of the quadrilaterals (...), square pixels."""
        return qbox_area(self.tensor)

    @property
    def widths(self) -> Tensor:
        """Long sides (...) of the rectangles of least area, pixels."""
        return qbox_to_rbox(self.tensor)[..., 2]

    @property
    def heights(self) -> Tensor:
        """Short sides (...) of the rectangles of least area, pixels."""
        return qbox_to_rbox(self.tensor)[..., 3]

    @property
    def corners(self) -> Tensor:
        """Corners (..., 4, 2), pixels."""
        return self.tensor.unflatten(-1, (4, 2))

    def resize_(self, scale_factor: tuple[float, float]) -> None:
        """Scale the quadrilaterals along the sides of their rectangles of least area, in place; centres stay.

        Args:
            scale_factor: Factors along the long and along the short side.
        """
        theta = qbox_to_rbox(self.tensor)[..., 4]
        to_frame, from_frame = rotation_matrix(-theta)[..., None, :, :], rotation_matrix(theta)[..., None, :, :]
        centre = self.centers[..., None, :]
        local = transform_points(self.corners - centre, to_frame)
        resized = transform_points(local * local.new_tensor(pair('scale_factor', scale_factor)), from_frame) + centre
        self.tensor = resized.flatten(-2)

    @staticmethod
    def overlaps(
        boxes1: BaseBoxes, boxes2: BaseBoxes, mode: str = 'iou', is_aligned: bool = False, eps: float = 1e-6
    ) -> Tensor:
        """Overlaps of boxes of any registered types, compared as quadrilaterals.

        Args:
            boxes1: M boxes; of one that is not convex the hull counts.
            boxes2: N boxes.
            mode: 'iou', or 'iof' for the intersection over the area of ``boxes1``.
            is_aligned: Whether box i is compared with box i only; M equals N then.
            eps: Part of mmdet's interface, without effect: boxes of zero area overlap by 0.

        Returns:
            (M, N), or (M,) if aligned.
        """
        from stn_det.ops import quadri_iou

        first, second = boxes1.convert_to('qbox').tensor, boxes2.convert_to('qbox').tensor
        return quadri_iou(first, second, aligned=is_aligned, mode=mode)

    @staticmethod
    def from_instance_masks(masks: BitmapMasks | PolygonMasks) -> 'QuadriBoxes':
        """Corners of the rectangles of least area around masks, whole pixels included.

        Args:
            masks: N bitmap or polygon masks.

        Returns:
            N boxes, float32; zeros for an empty mask.
        """
        return QuadriBoxes(quads_of_masks(masks), clone=False)

    def _transform(self, dst_from_src: Tensor) -> None:
        self.tensor = transform_qboxes(self.tensor, dst_from_src)

    def _contain(self, points: Tensor) -> Tensor:
        return qboxes_contain(self.tensor, points)
