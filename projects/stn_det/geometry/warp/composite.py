"""Warps one after the other, and a warp the other way round, for pairs that have no matrix in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from stn_det.errors import InputError

from .base import Warp

if TYPE_CHECKING:
    from .thin_plate import ThinPlateWarp


class CompositeWarp(Warp):
    """Two batches of maps, the second after the first; images are resampled once.

    Args:
        first: Maps from the source to a frame in between.
        then: Maps from there to the destination.

    Raises:
        InputError: If their number differs, or the frame in between.
    """

    def __init__(self, first: Warp, then: Warp) -> None:
        if len(first) != len(then) or first.dst_size != then.src_size:
            raise InputError(
                f'first has {len(first)} maps to a frame of {first.dst_size}, then {len(then)} from one of '
                f'{then.src_size}; expected equal numbers and frames'
            )
        super().__init__(first.src_size, then.dst_size, first.device)
        self.first, self.then = first, then

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, index: int | slice | Tensor) -> CompositeWarp:
        return CompositeWarp(self.first[index], self.then[index])

    def inverse(self) -> Warp:
        """Both the other way round, the second first."""
        return CompositeWarp(self.then.inverse(), self.first.inverse())

    def detach(self) -> Warp:
        """The same maps without a gradient."""
        return CompositeWarp(self.first.detach(), self.then.detach())

    def _forward(self, points: Tensor) -> Tensor:
        return self.then._forward(self.first._forward(points))

    def _jacobian(self, points: Tensor) -> Tensor:
        outer, inner = self.then._jacobian(self.first._forward(points)), self.first._jacobian(points)
        return (outer[..., :, :, None] * inner[..., None, :, :]).sum(-2)


class InverseWarp(Warp):
    """A spline the other way round: what it maps back and what it maps to change places.

    Args:
        warp: Maps from the destination to the source of this one.
    """

    def __init__(self, warp: ThinPlateWarp) -> None:
        super().__init__(warp.dst_size, warp.src_size, warp.device)
        self.warp = warp

    def __len__(self) -> int:
        return len(self.warp)

    def __getitem__(self, index: int | slice | Tensor) -> InverseWarp:
        return InverseWarp(self.warp[index])

    def inverse(self) -> Warp:
        """The spline as it was given."""
        return self.warp

    def detach(self) -> Warp:
        """The same maps without a gradient."""
        return InverseWarp(self.warp.detach())

    def _forward(self, points: Tensor) -> Tensor:
        return self.warp._backward(points)

    def _jacobian(self, points: Tensor) -> Tensor:
        return self.warp._backward_jacobian(points)
