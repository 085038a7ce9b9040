"""What every warp can do: move points, boxes and images of a batch between a source and a destination frame.

Convention:
    A warp maps **source to destination points** in continuous pixels: the first pixel's centre is (0.5, 0.5), a frame
    of (height, width) spans [0, width] x [0, height]. A batch holds N warps with common frame sizes. Images are read by
    the inverse map: destination pixel centre p shows the source at ``warp.inverse().transform_points(p)``, so an image
    and the boxes drawn on it stay together. Coordinates are computed in float64; results have the dtype of the points.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from stn_det.checks import as_pair, check_choice, check_float_shape
from stn_det.errors import InputError
from stn_det.ops import remap

from .._compute import safe_sqrt
from ..conversions import hbox_to_qbox, qbox_to_hbox
from ..transforms import transform_rboxes

Size = tuple[int, int]


class Warp(ABC):
    """A batch of N maps from source points to destination points.

    Args:
        src_size: (height, width) of the source frame, pixels.
        dst_size: (height, width) of the destination frame, pixels.
        device: Where the maps are.
    """

    def __init__(self, src_size: int | Size, dst_size: int | Size, device: torch.device) -> None:
        self.device = device
        self.src_size, self.dst_size = as_pair('src_size', src_size), as_pair('dst_size', dst_size)

    @abstractmethod
    def __len__(self) -> int:
        """Number of maps N."""

    @abstractmethod
    def __getitem__(self, index: int | slice | Tensor) -> Warp:
        """Some maps of the batch, also as a batch: ``warp[3]`` holds one."""

    @abstractmethod
    def _forward(self, points: Tensor) -> Tensor:
        """Destination (N, P, 2) of source points (N, P, 2), float64."""

    @abstractmethod
    def _jacobian(self, points: Tensor) -> Tensor:
        """Derivatives (N, P, 2, 2) of ``_forward`` at source points (N, P, 2), float64."""

    @abstractmethod
    def inverse(self) -> Warp:
        """The maps back, from destination to source points."""

    @abstractmethod
    def detach(self) -> Warp:
        """The same maps, through which no gradient flows: labels are moved by these."""

    def _resample(self, images: Tensor, padding_mode: str, antialias: bool) -> Tensor:
        """Checked images read at the source points of all destination pixels."""
        if antialias:
            raise InputError(f'antialias is True, which {type(self).__name__} does not offer; expected False')
        return remap(images, self._source_points(), padding_mode=padding_mode)

    def _source_points(self) -> Tensor:
        """Source points (N, h, w, 2) that the destination pixels show, float32 or float64."""
        centers = pixel_centers(self.dst_size, len(self), self.device)
        return self.inverse()._forward(centers).unflatten(1, self.dst_size)

    def __matmul__(self, first: Warp) -> Warp:
        """``c_from_b @ b_from_a`` is ``c_from_a``: the right one acts first, as for matrices."""
        return self.after(first)

    def after(self, first: Warp) -> Warp:
        """``self @ first``, in words that :func:`torch.compile` can follow: these maps act after those of ``first``."""
        from .composite import CompositeWarp  # which is a warp itself

        return CompositeWarp(first, self)

    def transform_images(self, images: Tensor, padding_mode: str = 'zeros', antialias: bool = False) -> Tensor:
        """Resample images of the source frame once, bilinearly.

        Args:
            images: (N, C, H, W) of ``src_size``; the identity returns them bit for bit.
            padding_mode: 'zeros', 'border' or 'reflection' for what lies outside of the source.
            antialias: Average over a destination pixel where the map makes the image smaller; matrices only.

        Returns:
            (N, C, h, w) of ``dst_size``, the dtype of ``images``; differentiable in images and warp.

        Raises:
            InputError: If the number or the size of the images does not fit, or ``antialias`` is not to be had.
        """
        check_float_shape('images', images, (len(self), 'C', *self.src_size))
        return self._resample(images, padding_mode, antialias)

    def transform_points(self, points: Tensor) -> Tensor:
        """Map points.

        Args:
            points: (N, P, 2) source points (x, y), pixels.

        Returns:
            (N, P, 2) destination points, the dtype of ``points``; NaN behind the horizon of a homography.

        Raises:
            InputError: If the shape does not fit.
        """
        return self._forward(self._rows('points', points, 2)).to(points.dtype)

    def transform_qboxes(self, qboxes: Tensor) -> Tensor:
        """Map quadrilaterals corner by corner; corner i stays corner i.

        Args:
            qboxes: (N, M, 8) source corners, pixels.

        Returns:
            (N, M, 8) destination corners.

        Raises:
            InputError: If the shape does not fit.
        """
        corners = self._rows('qboxes', qboxes, 8).unflatten(-1, (4, 2)).flatten(1, 2)
        return self._forward(corners).unflatten(1, (-1, 4)).flatten(2).to(qboxes.dtype)

    def transform_rboxes(self, rboxes: Tensor, form: str = 'le90') -> Tensor:
        """Map rotated boxes by the first-order map at their centres; exact for similarities.

        See :func:`stn_det.geometry.transform_rboxes` for what becomes of a box that is sheared.

        Args:
            rboxes: (N, M, 5) source boxes, pixels and radians.
            form: Canonical form of the result.

        Returns:
            (N, M, 5) destination boxes.

        Raises:
            InputError: If the shape does not fit or the form is unknown.
        """
        boxes = self._rows('rboxes', rboxes, 5)
        return transform_rboxes(boxes, self.local_matrices(boxes[..., :2]), form).to(rboxes.dtype)

    def transform_hboxes(self, hboxes: Tensor, rule: str = 'corners') -> Tensor:
        """Horizontal boxes around what the maps make of horizontal boxes.

        Args:
            hboxes: (N, M, 4) source boxes (x1, y1, x2, y2), pixels.
            rule: 'corners': around the mapped corners, which a turn there and back doubles; 'ellipse': around the
                image of the largest ellipse inside the box, nearer to the object ("Towards Rotation Invariance in
                Object Detection", https://arxiv.org/abs/2109.13488).

        Returns:
            (N, M, 4) destination boxes.

        Raises:
            InputError: If the shape does not fit or the rule is unknown.
        """
        check_choice('rule', rule, ('corners', 'ellipse'))
        boxes = self._rows('hboxes', hboxes, 4)
        if rule == 'corners':
            return qbox_to_hbox(self.transform_qboxes(hbox_to_qbox(boxes))).to(hboxes.dtype)
        centers = (boxes[..., :2] + boxes[..., 2:]) / 2
        half = (boxes[..., 2:] - boxes[..., :2]) / 2
        middle = self._forward(centers)
        reach = safe_sqrt((self._jacobian(centers) * half[..., None, :]).square().sum(-1))
        return torch.cat([middle - reach, middle + reach], dim=-1).to(hboxes.dtype)

    def local_matrices(self, points: Tensor) -> Tensor:
        """Affine maps that agree with the warp to first order at given points.

        Args:
            points: (N, P, 2) source points, pixels.

        Returns:
            (N, P, 3, 3) float64 dst_from_src.

        Raises:
            InputError: If the shape does not fit.
        """
        points = self._rows('points', points, 2)
        linear = self._jacobian(points)
        shift = self._forward(points) - (linear * points[..., None, :]).sum(-1)
        rows = torch.cat([linear, shift[..., None]], dim=-1)
        last = rows.new_tensor([0.0, 0.0, 1.0]).expand(*rows.shape[:-2], 1, 3)
        return torch.cat([rows, last], dim=-2)

    def log_det(self, grid: int = 8) -> Tensor:
        """Logarithm of the change of area at the centres of grid x grid equal parts of the source frame.

        Args:
            grid: Parts along each side.

        Returns:
            (N, grid * grid) float64 ``log |det J|``: 0 keeps the area, ``log 4`` doubles both sides; -inf is singular.
        """
        return self._det(self.frame_points(grid)).abs().log()

    def coverage(self, grid: int = 32) -> Tensor:
        """Part of the source frame that lands inside of the destination frame, measured at grid x grid points.

        Returns:
            (N,) float64 in [0, 1]; what is missing is lost to a detector. ``inverse().coverage()`` is the part of the
            destination that shows something.
        """
        return self._inside(self._forward(self.frame_points(grid)), self.dst_size).double().mean(1)

    def valid_mask(self) -> Tensor:
        """Destination pixels whose centres show the source.

        Returns:
            (N, 1, h, w) bool.
        """
        height, width = self.dst_size
        back = self.inverse()
        seen = self._inside(back._forward(pixel_centers(self.dst_size, len(self), back.device)), self.src_size)
        return seen.view(len(self), 1, height, width)

    def is_regular(self, grid: int = 8) -> Tensor:
        """Whether the maps are finite and one to one on the source frame: not singular, not folded, no horizon inside.

        Args:
            grid: The corners and grid x grid points of the frame are looked at.

        Returns:
            (N,) bool, on the device of the warp: nothing waits for it.
        """
        height, width = self.src_size
        corners = torch.tensor([[0, 0], [width, 0], [width, height], [0, height]], dtype=torch.float64)
        points = torch.cat([self.frame_points(grid), corners.to(self.device).expand(len(self), 4, 2)], dim=1)
        det = self._det(points)
        same_side = (det.sign() == det[:, :1].sign()).all(1)
        return (
            det.isfinite().all(1) & self._forward(points).isfinite().all((1, 2)) & (det.abs() > 1e-9).all(1) & same_side
        )

    def check_regular(self) -> None:
        """Raise for warps by which nothing can be moved there and back; reads values, so it waits for a GPU.

        Raises:
            InputError: naming the maps that :meth:`is_regular` refuses.
        """
        broken = (~self.is_regular()).nonzero().flatten().tolist()
        if broken:
            raise InputError(
                f'{type(self).__name__}: maps {broken} of {len(self)} are singular, folded, not finite, or have their '
                f'horizon inside of the source frame {self.src_size}; use smaller limits on their parameters'
            )

    def at_stride(self, stride: float) -> Warp:
        """The same maps between feature maps, whose cells are ``stride`` pixels wide.

        Args:
            stride: Pixels of the images per cell, for both frames.

        Returns:
            A warp in units of cells; frame sizes are rounded up, as convolutions with padding do.
        """
        from .matrix import MatrixWarp  # which is a warp itself

        down = MatrixWarp.scaling(len(self), self.dst_size, 1 / stride, device=self.device)
        up = MatrixWarp.scaling(len(self), self.src_size, 1 / stride, device=self.device).inverse()
        return down.after(self).after(up)

    def frame_points(self, grid: int) -> Tensor:
        """Centres (N, grid * grid, 2) of grid x grid equal parts of the source frame, float64."""
        steps = (torch.arange(grid, device=self.device, dtype=torch.float64) + 0.5) / grid
        y, x = torch.meshgrid(steps * self.src_size[0], steps * self.src_size[1], indexing='ij')
        return torch.stack([x, y], dim=-1).view(1, grid * grid, 2).expand(len(self), -1, 2)

    def _det(self, points: Tensor) -> Tensor:
        jacobian = self._jacobian(points)
        return jacobian[..., 0, 0] * jacobian[..., 1, 1] - jacobian[..., 0, 1] * jacobian[..., 1, 0]

    @staticmethod
    def _inside(points: Tensor, size: Size) -> Tensor:
        x, y = points.unbind(-1)
        return (x >= 0) & (x <= size[1]) & (y >= 0) & (y <= size[0])

    def _rows(self, name: str, rows: Tensor, columns: int) -> Tensor:
        """Points or boxes (N, M, columns) in float64, on the device of the warp."""
        check_float_shape(name, rows, (len(self), 'M', columns))
        return rows.to(self.device, torch.float64)


def pixel_centers(size: Size, count: int, device: torch.device) -> Tensor:
    """Centres (count, height * width, 2) of all pixels of a frame, row by row, float64."""
    y, x = (torch.arange(length, device=device, dtype=torch.float64) + 0.5 for length in size)
    grid = torch.meshgrid(y, x, indexing='ij')
    return torch.stack([grid[1], grid[0]], dim=-1).view(1, -1, 2).expand(count, -1, 2)
