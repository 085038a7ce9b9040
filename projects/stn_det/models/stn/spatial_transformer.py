"""Whole images warped as a small network asks for: localisation, warp, one resampling.

"Spatial Transformer Networks" https://arxiv.org/abs/1506.02025, with the steps of "Inverse Compositional Spatial
Transformer Networks" https://arxiv.org/abs/1612.03897, the features of "Understanding when spatial transformer networks
do not support invariance, and what to do about it" https://arxiv.org/abs/2004.11678, and the poses of "Probabilistic
Spatial Transformer Networks" https://arxiv.org/abs/2004.03637.

Letters: N images, C channels, (H, W) size of the images, P parameters of a warp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor

from ...checks import check_choice, check_float_shape
from ...errors import ConfigError
from ...geometry.warp import FAMILIES, MatrixWarp, Warp
from ...ops.warp_sample import PADDING_MODES
from .poses import MatrixPoses, Pose, SplinePoses
from .thumbnail import make_thumbnail

Features = Callable[[Tensor], Tensor]
LOCALIZER: ConfigType = dict(type='LocalizationNetwork')
# Families that make nothing smaller, and splines, which cannot average.
_NEVER_SMALLER = ('translation', 'rotation', 'thin_plate')


class Transformed(NamedTuple):
    """Images and how they were warped.

    Args:
        images: (N, C, H, W), the size and dtype of the input.
        warp: From the pixels of the input to those of ``images``; moves labels, and its inverse predictions.
        parameters: (N, P) float64, see :class:`SpatialTransformer`.
        logits: (N, num_orientations) of an orientation localiser, or None.
        sigma: (N, P) float64 standard deviation of the parameters, or None without sampled poses.
    """

    images: Tensor
    warp: Warp
    parameters: Tensor
    logits: Tensor | None = None
    sigma: Tensor | None = None


class _LastStep(NamedTuple):
    """What is known before the last update: the pose so far, the raw numbers (N, P) of the update, their spread."""

    so_far: Pose
    raw: Tensor
    sigma: Tensor | None
    logits: Tensor | None


@MODELS.register_module()
class SpatialTransformer(BaseModule):
    """Warps every image by a map that a network chooses; the identity, bit for bit, until it has learned something.

    An image is reduced to a thumbnail once. In each of K steps, which share their weights, the thumbnail is warped by
    all that was found so far and the localiser predicts an update; matrices are multiplied, displacements of splines
    added. The image itself is resampled once, at the end.

    The parameters that are returned, for losses and logs, are the sum of the bounded updates: those of the warp itself
    for one step and for splines, and to first order else. They do not include the turn of an orientation localiser.
    Numbers of a localiser that are not finite make the update of their image 0. Warps are computed in float64, outside
    of autocast, whatever the dtype of the images.

    Setting ``frozen`` lets :meth:`forward` pass images on untouched, to train a detector before its transformer.

    Args:
        family: Of the warps, in :data:`stn_det.geometry.warp.FAMILIES`, or 'thin_plate'.
        limits: Of the sum of all updates: arguments of :class:`stn_det.geometry.warp.WarpLimits`; for thin plates
            ``dict(displacement=...)`` in units of half the square root of the frame's area, by default a fifth of the
            distance of control points. Infinite for no limit.
        localizer: Config of the network that predicts an update from the thumbnail; None for none.
        orientation: Config of an :class:`OrientationLocalizer`, which turns the image before the first step.
        num_steps: K.
        thumbnail: Longer side of the thumbnail, pixels; smaller images are looked at as they are.
        antialias: Average where a warp makes images smaller; splines do not.
        padding_mode: 'zeros', 'border' or 'reflection' for what lies outside of the image.
        grid: Control points of a thin plate along each side.
        sigma: Standard deviation of sampled poses at the start, in the units of the parameters; the localiser then
            predicts a factor for each, and each image in training is warped by one sample. 0 for no samples.
        init_cfg: Weight initialisation.

    Raises:
        ConfigError: If options contradict each other.
        InputError: If the family, the padding mode or a limit is unknown.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import MODELS
        >>> transformer = MODELS.build(dict(type='SpatialTransformer', family='similarity', num_steps=2))
        >>> images = torch.rand(2, 3, 200, 300)
        >>> images_warped, warp, parameters, *_ = transformer(images)
        >>> torch.equal(images_warped, images), parameters.shape, warp.coverage().tolist()
        (True, torch.Size([2, 4]), [1.0, 1.0])
    """

    def __init__(
        self,
        family: str = 'similarity',
        limits: Mapping[str, float] | None = None,
        localizer: OptConfigType = LOCALIZER,
        orientation: OptConfigType = None,
        num_steps: int = 1,
        thumbnail: int = 128,
        antialias: bool = True,
        padding_mode: str = 'zeros',
        grid: int = 4,
        sigma: float = 0.0,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        check_choice('family', family, (*FAMILIES, 'thin_plate'))
        check_choice('padding_mode', padding_mode, PADDING_MODES)
        if num_steps < 1 or thumbnail < 8 or not sigma >= 0:
            raise ConfigError(
                f'num_steps is {num_steps}, thumbnail {thumbnail}, sigma {sigma}; expected at least 1 step, 8 pixels '
                f'and a sigma of 0 or more'
            )
        if localizer is None and (orientation is None or num_steps > 1 or sigma > 0):
            raise ConfigError(
                f'localizer is None with orientation {orientation}, num_steps {num_steps} and sigma {sigma}; expected '
                f'a localizer for steps and samples, or an orientation alone'
            )
        is_spline = family == 'thin_plate'
        self.poses = SplinePoses(grid, limits, num_steps) if is_spline else MatrixPoses(family, limits, num_steps)
        self.num_steps, self.thumbnail, self.sigma = num_steps, thumbnail, sigma
        self.antialias = antialias and family not in _NEVER_SMALLER
        self.padding_mode = padding_mode
        self.localizer = _build_localizer(localizer, self.poses.num_parameters * (2 if sigma else 1))
        self.orientation = None if orientation is None else MODELS.build(orientation)
        self.frozen = False

    def forward(self, images: Tensor, features: Features | None = None) -> Transformed:
        """Warp images; in training with sampled poses by one sample each, else by the most likely pose.

        Args:
            images: (N, C, H, W) floating, as the detector would see them.
            features: Computed of a thumbnail (N, C, h, w) and given to the localiser in its place, for example by the
                first stages of the detector's backbone; None for the thumbnail itself.

        Returns:
            :class:`Transformed`.

        Raises:
            InputError: If the shape does not fit.
        """
        check_float_shape('images', images, ('N', 'C', 'H', 'W'))
        if self.frozen:
            warp = MatrixWarp.identity(len(images), images.shape[2:], images.device)
            zeros = images.new_zeros(len(images), self.poses.num_parameters, dtype=torch.float64)
            return Transformed(images, warp, zeros)
        return self._draw(images, self._look(images, features), self.training)

    def estimate(self, images: Tensor, features: Features | None = None) -> tuple[Warp, Tensor, Tensor | None]:
        """Most likely poses without resampling the images, which is all that losses on poses need.

        Works also while frozen. See :meth:`forward` for the arguments.

        Returns:
            The warp, its parameters (N, P) and the logits (N, num_orientations) or None.
        """
        check_float_shape('images', images, ('N', 'C', 'H', 'W'))
        last = self._look(images, features)
        pose = self.poses.step(last.so_far, last.raw)
        return pose.warp, pose.parameters, last.logits

    def sample(self, images: Tensor, count: int, features: Features | None = None) -> list[Transformed]:
        """Several warps of the same images by poses drawn from what the localiser thinks possible.

        See :meth:`forward` for the other arguments.

        Args:
            count: Draws for each image; the localiser runs once for all of them.

        Raises:
            ConfigError: If the transformer was built without a sigma.
        """
        check_float_shape('images', images, ('N', 'C', 'H', 'W'))
        if not self.sigma:
            raise ConfigError('sigma is 0, so all samples would be equal; build the transformer with a sigma above 0')
        last = self._look(images, features)
        return [self._draw(images, last, noisy=True) for _ in range(count)]

    def _look(self, images: Tensor, features: Features | None) -> _LastStep:
        """All steps but the last update."""
        size = images.shape[2], images.shape[3]
        thumbnail, shrink = make_thumbnail(images, self.thumbnail)
        pose, logits = self.poses.start(len(images), size, images.device), None
        if self.orientation is not None:
            logits = self.orientation(thumbnail, features)
            pose = self.poses.turned(pose, self.orientation.angles(logits))
        if self.localizer is None:
            return _LastStep(pose, torch.zeros_like(pose.parameters), None, logits)
        grow = shrink.inverse()
        seen = thumbnail if logits is None else self._resample(thumbnail, shrink.after(pose.warp).after(grow))
        raw, sigma = self._localize(seen, features)
        for _ in range(self.num_steps - 1):
            pose = self.poses.step(pose, raw)
            seen = self._resample(thumbnail, shrink.after(pose.warp).after(grow))
            raw, sigma = self._localize(seen, features)
        return _LastStep(pose, raw, sigma, logits)

    def _localize(self, thumbnail: Tensor, features: Features | None) -> tuple[Tensor, Tensor | None]:
        """Raw numbers and, for sampled poses, their standard deviation, both (N, P) float64 and finite."""
        numbers = self.localizer(thumbnail if features is None else features(thumbnail)).double()
        numbers = torch.where(numbers.isfinite().all(1, keepdim=True), numbers, 0)
        if not self.sigma:
            return numbers, None
        raw, factor = numbers.chunk(2, dim=1)
        return raw, self.sigma * factor.clamp(-10, 10).exp()

    def _draw(self, images: Tensor, last: _LastStep, noisy: bool) -> Transformed:
        """The last update, of the raw numbers or of a sample around them, and the images that it leads to."""
        raw = last.raw
        if noisy and last.sigma is not None:
            raw = raw + last.sigma * torch.randn_like(raw)
        pose = self.poses.step(last.so_far, raw)
        return Transformed(self._resample(images, pose.warp), pose.warp, pose.parameters, last.logits, last.sigma)

    def _resample(self, images: Tensor, warp: Warp) -> Tensor:
        return warp.transform_images(images, self.padding_mode, self.antialias)


def _build_localizer(config: OptConfigType, num_outputs: int) -> BaseModule | None:
    if config is None:
        return None
    if config.get('num_outputs', num_outputs) != num_outputs:
        raise ConfigError(
            f'localizer.num_outputs is {config["num_outputs"]}, but the warps need {num_outputs} numbers; leave it out'
        )
    return MODELS.build({**config, 'num_outputs': num_outputs})
