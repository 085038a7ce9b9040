"""What teaches a spatial transformer which pose an image should have, beside the loss of the detector.

Overhead images have no up, so the detection loss says little about a pose of all objects together. Each signal is a
module ``signal(view) -> losses``; ``STNDetector`` takes a list of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import ConfigType
from torch import Tensor, nn

from ...errors import ConfigError, InputError
from ...geometry.warp import MatrixWarp, Warp, WarpLimits, num_parameters, warp_matrix
from ...geometry.warp.families import FAMILIES, frame_unit
from ...geometry.warp.metadata import canonical_from_metadata
from .regularizers import area_loss, coverage_loss, orientation_prior_loss, parameter_loss
from .thumbnail import make_thumbnail

Pose = tuple[Warp, Tensor, Tensor | None]  # warp, parameters, logits
GRID = 5  # points along each side by which two warps are compared


@dataclass(frozen=True)
class View:
    """One batch as a transformer sees it.

    Args:
        images: (N, C, H, W) network input.
        samples: N samples with their meta data.
        warp: From the network input to the common view, also while the transformer is frozen.
        parameters: (N, P) of the warp.
        logits: (N, num_orientations), or None.
        estimate: ``images -> (warp, parameters, logits)`` for other versions of the images.
        thumbnail: Longer side of what the transformer looks at, pixels.
    """

    images: Tensor
    samples: list[DetDataSample]
    warp: Warp
    parameters: Tensor
    logits: Tensor | None
    estimate: Callable[[Tensor], Pose]
    thumbnail: int


def warp_distance(first: Warp, second: Warp) -> Tensor:
    """Mean distance at which two warps put points of the same frame, in units of half its side; smooth near 0.

    Args:
        first: N maps.
        second: N maps from the same frame.

    Returns:
        () float32.
    """
    points = first.frame_points(GRID)
    moved = (first.transform_points(points) - second.transform_points(points)) / frame_unit(first.src_size)
    return nn.functional.smooth_l1_loss(moved, torch.zeros_like(moved), beta=0.1).float()


@MODELS.register_module()
class PriorSignal(nn.Module):
    """Keeps the pose of training images near the identity: near the distribution that the detector is trained on.

    Without it a canonical pose may be any, and drifts off ("Equivariant Adaptation of Large Pretrained Models",
    https://arxiv.org/abs/2310.01647). It is right where training images are not distorted themselves.

    Args:
        loss_weight: Weight of the mean squared parameters.
        orientation_weight: Weight of the cross-entropy to the orientation 0, where the localiser scores orientations.
    """

    def __init__(self, loss_weight: float = 1.0, orientation_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight, self.orientation_weight = loss_weight, orientation_weight

    def forward(self, view: View) -> dict[str, Tensor]:
        """``loss_prior`` and, for orientations, ``loss_orientation``."""
        losses = dict(loss_prior=self.loss_weight * parameter_loss(view.parameters).float())
        if view.logits is not None:
            losses['loss_orientation'] = self.orientation_weight * orientation_prior_loss(view.logits)
        return losses


@MODELS.register_module()
class EquivarianceSignal(nn.Module):
    """Two random warps of the same image must come to the same view: no label is needed.

    For random warps g and h of an image x the transformer's warps T must fulfil ``T(g x) g = T(h x) h``: both say where
    a point of x lies in the common view. With ``anchor`` h is the identity and T(x) the identity too, which makes the
    training images' own pose the common view, as :class:`PriorSignal` does.

    Args:
        family: Of the random warps.
        limits: Largest parameters of the random warps, arguments of ``WarpLimits``; drawn uniformly.
        anchor: Whether the untouched image is the common view.
        loss_weight: Weight of the distance.

    Raises:
        ConfigError: If the family is unknown.
    """

    def __init__(
        self,
        family: str = 'similarity',
        limits: ConfigType | None = None,
        anchor: bool = True,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if family not in FAMILIES:
            raise ConfigError(f'family is {family!r}, expected one of {", ".join(FAMILIES)}')
        self.family, self.limits = family, WarpLimits(**(limits or {}))
        self.anchor, self.loss_weight = anchor, loss_weight

    def forward(self, view: View) -> dict[str, Tensor]:
        """``loss_equivariance``."""
        small, _ = make_thumbnail(view.images, view.thumbnail)
        first = self._draw(small)
        seen = view.estimate(first.transform_images(small, antialias=True))[0] @ first
        if self.anchor:
            distance = warp_distance(seen, MatrixWarp.identity(len(first), first.src_size, first.device))
        else:
            second = self._draw(small)
            distance = warp_distance(seen, view.estimate(second.transform_images(small, antialias=True))[0] @ second)
        return dict(loss_equivariance=self.loss_weight * distance)

    def _draw(self, images: Tensor) -> MatrixWarp:
        limits = torch.tensor([min(self.limits.of(name), torch.pi) for name in FAMILIES[self.family]])
        drawn = (2 * torch.rand(len(images), num_parameters(self.family)) - 1) * limits
        size = tuple(images.shape[2:])
        return MatrixWarp(warp_matrix(drawn.to(images.device), self.family, size), size)


@MODELS.register_module()
class MetadataSignal(nn.Module):
    """Pose by the camera's metadata: ground sample distance, off-nadir angle, direction of north.

    Reads ``camera`` of a sample's meta data, a dict as :func:`canonical_from_metadata` takes it, and
    ``homography_matrix``, by which mmdet's transforms tell what they did to the image. Samples without ``camera`` bear
    no loss.

    This signal, unlike the prior, also fits images that a pipeline turns at random, for it knows by how much.

    Args:
        target_gsd: Metres per pixel of the common view; None leaves the scale alone.
        loss_weight: Weight of the distance.
        orientation_weight: Weight of the cross-entropy to the turn that is nearest to the camera's, where the localiser
            scores orientations.
    """

    def __init__(
        self, target_gsd: float | None = None, loss_weight: float = 1.0, orientation_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.target_gsd, self.loss_weight, self.orientation_weight = target_gsd, loss_weight, orientation_weight

    def forward(self, view: View) -> dict[str, Tensor]:
        """``loss_metadata`` and, for orientations, ``loss_orientation``."""
        warp = view.warp
        known = [i for i, sample in enumerate(view.samples) if sample.metainfo.get('camera')]
        if not known:
            return dict(loss_metadata=warp.transform_points(warp.frame_points(1)).sum().float() * 0)
        target = torch.stack([self._target(view.samples[i], warp.src_size) for i in known]).to(warp.device)
        index = torch.tensor(known, device=warp.device)
        distance = warp_distance(warp[index], MatrixWarp(target, warp.src_size))
        losses = dict(loss_metadata=self.loss_weight * distance)
        if view.logits is not None:
            losses['loss_orientation'] = self.orientation_weight * _orientation_loss(view.logits[index], target)
        return losses

    def _target(self, sample: DetDataSample, size: tuple[int, int]) -> Tensor:
        """Map (3, 3) about the centre of the frame."""
        metainfo = sample.metainfo
        matrix = torch.eye(3, dtype=torch.float64)
        moved = metainfo.get('homography_matrix')
        matrix[:2, :2] = canonical_from_metadata(
            metainfo['camera'], self.target_gsd, None if moved is None else torch.as_tensor(moved)
        )
        center = torch.tensor([size[1] / 2, size[0] / 2], dtype=torch.float64)
        matrix[:2, 2] = center - matrix[:2, :2] @ center
        return matrix


def _orientation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of scores (N, num_orientations) to the turns nearest to those of matrices (N, 3, 3)."""
    turn = torch.atan2(target[:, 1, 0] - target[:, 0, 1], target[:, 0, 0] + target[:, 1, 1])
    steps = (turn / torch.pi * logits.shape[1] / 2).round().long() % logits.shape[1]
    return nn.functional.cross_entropy(logits.float(), steps)


@MODELS.register_module()
class RegularitySignal(nn.Module):
    """Keeps the transformer from lowering the loss by shrinking the image or pushing objects out of it.

    Args:
        area_weight: Weight of the mean squared logarithm of the change of area.
        coverage_weight: Weight of how far the image reaches out of the frame.

    Raises:
        InputError: If a weight is negative.
    """

    def __init__(self, area_weight: float = 0.1, coverage_weight: float = 0.1) -> None:
        super().__init__()
        if area_weight < 0 or coverage_weight < 0:
            raise InputError(f'weights are {(area_weight, coverage_weight)}, expected 0 or more')
        self.area_weight, self.coverage_weight = area_weight, coverage_weight

    def forward(self, view: View) -> dict[str, Tensor]:
        """``loss_area`` and ``loss_coverage``."""
        return dict(
            loss_area=self.area_weight * area_loss(view.warp).float(),
            loss_coverage=self.coverage_weight * coverage_loss(view.warp).float(),
        )
