"""What rotated and quadrilateral boxes share: every in-place operation is one 3x3 matrix in continuous pixels."""

import math
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from mmdet.structures.bbox import BaseBoxes
from mmdet.structures.mask import BitmapMasks
from torch import Tensor

from stn_det.errors import InputError
from stn_det.geometry import rotation_matrix, scaling, translation

from .masks import masks_of_boxes


class OrientedBoxes(BaseBoxes):
    """Boxes that are not parallel to the axes; subclasses say how a matrix moves them and what lies inside.

    They are never clipped: a rotated box cut at the border of an image is no rotated box. ``clip_`` therefore does
    nothing, and ``is_inside`` goes by the centre: mmdet's transforms keep a box only if at least a quarter of it
    is left.
    """

    @abstractmethod
    def _transform(self, dst_from_src: Tensor) -> None:
        """Move the boxes by a (3, 3) matrix that maps source to destination points in pixels."""

    @property
    @abstractmethod
    def corners(self) -> Tensor:
        """Corners (..., 4, 2) of boxes (..., box_dim), pixels."""

    @abstractmethod
    def _contain(self, points: Tensor) -> Tensor:
        """Whether each box (..., box_dim) holds its point (..., 2), broadcast, as bool (...)."""

    def flip_(self, img_shape: tuple[int, int], direction: str = 'horizontal') -> None:
        """Mirror the boxes with their image, in place.

        Args:
            img_shape: Height and width of the image, pixels.
            direction: 'horizontal' (x becomes W - x), 'vertical' (y becomes H - y) or 'diagonal' (both).

        Raises:
            InputError: If the direction is none of the three.
        """
        if direction not in ('horizontal', 'vertical', 'diagonal'):
            raise InputError(f"direction must be 'horizontal', 'vertical' or 'diagonal', got {direction!r}")
        height, width = img_shape
        x, y = (1 if direction == 'vertical' else -1), (1 if direction == 'horizontal' else -1)
        self._transform(scaling(x, y, center=(width / 2, height / 2)))

    def translate_(self, distances: tuple[float, float]) -> None:
        """Move the boxes by (dx, dy) pixels, in place.

        Args:
            distances: Pixels to the right and pixels down.
        """
        self._transform(translation(*pair('distances', distances)))

    def clip_(self, img_shape: tuple[int, int]) -> None:
        """Do nothing: a rotated box cut at the border of an image is no rotated box.

        Args:
            img_shape: Height and width of the image, pixels.
        """

    def rotate_(self, center: tuple[float, float], angle: float) -> None:
        """Turn the boxes about a point, in place.

        Args:
            center: Fixed point (x, y), continuous pixels.
            angle: Degrees, positive clockwise on screen, as mmdet and mmcv count.
        """
        self._transform(rotation_matrix(math.radians(angle), center=pair('center', center)))

    def project_(self, homography_matrix: Tensor | np.ndarray) -> None:
        """Map the boxes by a homography, in place.

        Args:
            homography_matrix: (3, 3), source to destination points in continuous pixels.
        """
        self._transform(torch.as_tensor(homography_matrix))

    def rescale_(self, scale_factor: tuple[float, float]) -> None:
        """Scale the boxes with their image, in place; their areas grow by exactly the product of the factors.

        Args:
            scale_factor: Factors along x and y.
        """
        self._transform(scaling(*pair('scale_factor', scale_factor)))

    def is_inside(self, img_shape: tuple[int, int], all_inside: bool = False, allowed_border: int = 0) -> Tensor:
        """Which boxes belong to the image.

        Args:
            img_shape: Height and width of the image, pixels.
            all_inside: Whether all four corners must lie in [0, W] x [0, H]. Otherwise the centre must lie in
                [0, W) x [0, H), so that tiles which share a border share no box.
            allowed_border: Pixels by which the image is widened on each side first.

        Returns:
            Bool (...) for boxes (..., box_dim).
        """
        height, width = img_shape
        low, high_x, high_y = -allowed_border, width + allowed_border, height + allowed_border
        if all_inside:
            x, y = self.corners.unbind(-1)
            return ((x >= low) & (x <= high_x) & (y >= low) & (y <= high_y)).all(-1)
        x, y = self.centers.unbind(-1)
        return (x >= low) & (x < high_x) & (y >= low) & (y < high_y)

    def find_inside_points(self, points: Tensor, is_aligned: bool = False) -> Tensor:
        """Which points lie inside which boxes; the boundary counts as inside.

        Args:
            points: (M, 2), pixels.
            is_aligned: Whether point i is compared with box i only.

        Returns:
            Bool (M, N) for N boxes, or (M,) if aligned.

        Raises:
            InputError: If the boxes are not (N, box_dim), or their number differs from that of aligned points.
        """
        if self.dim() != 2:
            raise InputError(
                f'find_inside_points needs boxes (N, {self.box_dim}), got {tuple(self.shape)}; flatten them'
            )
        if not is_aligned:
            return self._contain(points[:, None, :])
        if len(points) != len(self):
            raise InputError(f'aligned points must be as many as the boxes ({len(self)}), got {len(points)}')
        return self._contain(points)

    def create_masks(self, img_shape: tuple[int, int]) -> BitmapMasks:
        """Masks of the pixels whose centres lie inside the boxes.

        Args:
            img_shape: Height and width of the image, pixels.

        Returns:
            N masks of that shape, for boxes (N, box_dim).
        """
        return masks_of_boxes(self, img_shape)


def pair(name: str, values: Sequence[float]) -> tuple[float, float]:
    """Two numbers (x, y) as floats.

    Raises:
        InputError: If there are not two.
    """
    if len(values) != 2:
        raise InputError(f'{name} must be two numbers (x, y), got {len(values)}: {values!r}')
    return float(values[0]), float(values[1])
