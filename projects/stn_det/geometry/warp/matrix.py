"""Warps given by 3x3 matrices: translations, rotations, similarities, affine maps and homographies."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor

from stn_det.checks import check_float_shape
from stn_det.ops import warp_sample

from ..transforms import transform_rboxes
from .base import Size, Warp
from .families import warp_matrix


class MatrixWarp(Warp):
    """A batch of affine or projective maps.

    Args:
        dst_from_src: (N, 3, 3) floating, source to destination points in continuous pixels; kept as float64.
        src_size: (height, width) of the source frame.
        dst_size: (height, width) of the destination frame; that of the source if None.

    Raises:
        InputError: If the shape does not fit.

    Example:
        >>> import torch
        >>> from stn_det.geometry.warp import MatrixWarp
        >>> warp = MatrixWarp.from_parameters(torch.tensor([[torch.pi / 2]]), 'rotation', (100, 100))
        >>> warp.transform_points(torch.tensor([[[90.0, 50.0]]])).round().tolist()  # turned clockwise on screen
        [[[50.0, 90.0]]]
        >>> warp.transform_images(torch.zeros(1, 3, 100, 100)).shape
        torch.Size([1, 3, 100, 100])
    """

    def __init__(self, dst_from_src: Tensor, src_size: int | Size, dst_size: int | Size | None = None) -> None:
        self.dst_from_src = check_float_shape('dst_from_src', dst_from_src, ('N', 3, 3)).double()
        super().__init__(src_size, src_size if dst_size is None else dst_size, dst_from_src.device)

    @classmethod
    def from_parameters(cls, parameters: Tensor, family: str, size: int | Size) -> MatrixWarp:
        """Warps of a frame onto itself from parameters (N, P); see :func:`warp_matrix`."""
        warp = cls.identity(0, size)
        return cls(warp_matrix(parameters, family, warp.src_size), size)

    @classmethod
    def identity(cls, count: int, size: int | Size, device: torch.device | None = None) -> MatrixWarp:
        """``count`` maps that change nothing."""
        return cls(torch.eye(3, dtype=torch.float64, device=device).expand(count, 3, 3), size)

    @classmethod
    def scaling(cls, count: int, size: Size, factor: float, device: torch.device | None = None) -> MatrixWarp:
        """``count`` maps of a frame onto one that is ``factor`` times as large, rounded up to whole pixels."""
        matrix = torch.diag(torch.tensor([factor, factor, 1.0], dtype=torch.float64, device=device))
        dst_size = ceil(size[0] * factor - 1e-9), ceil(size[1] * factor - 1e-9)
        return cls(matrix.expand(count, 3, 3), size, dst_size)

    def __len__(self) -> int:
        return self.dst_from_src.shape[0]

    def __getitem__(self, index: int | slice | Tensor) -> MatrixWarp:
        part = self.dst_from_src[index]
        return MatrixWarp(part.view(-1, 3, 3), self.src_size, self.dst_size)

    def after(self, first: Warp) -> Warp:
        """These maps after those of ``first``: one matrix if both are, and so the same as ``self @ first``."""
        if not isinstance(first, MatrixWarp):
            return super().after(first)
        with torch.autocast(self.device.type, enabled=False):
            product = self.dst_from_src @ first.dst_from_src
        return MatrixWarp(product, first.src_size, self.dst_size)

    def inverse(self) -> MatrixWarp:
        """The maps back; entries are not finite where a matrix is singular."""
        return MatrixWarp(_inverse(self.dst_from_src), self.dst_size, self.src_size)

    def detach(self) -> MatrixWarp:
        """The same maps without a gradient."""
        return MatrixWarp(self.dst_from_src.detach(), self.src_size, self.dst_size)

    def _resample(self, images: Tensor, padding_mode: str, antialias: bool) -> Tensor:
        src_from_dst = self.inverse().dst_from_src
        return warp_sample(images, src_from_dst, self.dst_size, padding_mode=padding_mode, antialias=antialias)

    def transform_rboxes(self, rboxes: Tensor, form: str = 'le90') -> Tensor:
        """Map rotated boxes (N, M, 5); as every warp does, and exactly for affine maps."""
        boxes = self._rows('rboxes', rboxes, 5)
        moved = transform_rboxes(boxes, self.dst_from_src[:, None], form)
        seen = self._homogeneous(boxes[..., :2])[1] > 0
        return torch.where(seen, moved, torch.nan).to(rboxes.dtype)

    def _forward(self, points: Tensor) -> Tensor:
        numerators, depth = self._homogeneous(points)
        return numerators / depth

    def _jacobian(self, points: Tensor) -> Tensor:
        numerators, depth = self._homogeneous(points)
        matrix = self.dst_from_src[:, None]
        mapped = numerators / depth
        return (matrix[..., :2, :2] - mapped[..., None] * matrix[..., 2:, :2]) / depth[..., None]

    def _homogeneous(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Numerators (N, P, 2) and depth (N, P, 1), which is NaN behind the horizon: nothing is seen there."""
        matrix = self.dst_from_src[:, None]
        product = (matrix[..., :2] * points[..., None, :]).sum(-1) + matrix[..., 2]
        depth = product[..., 2:]
        return product[..., :2], torch.where(depth > 0, depth, torch.nan)


def _inverse(matrix: Tensor) -> Tensor:
    """Inverse by cofactors: no host read, and exact for the identity."""
    a, b, c = matrix.unbind(-1)
    rows = [torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)]
    determinant = (a * rows[0]).sum(-1)
    return torch.stack(rows, dim=-2) / determinant[..., None, None]
