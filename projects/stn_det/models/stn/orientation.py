"""A network that finds which way up a tile is, by looking at all its turns.

"Equivariance with Learned Canonicalization Functions" https://arxiv.org/abs/2211.06489, for the cyclic groups, with the
prior of "Equivariant Adaptation of Large Pretrained Models" https://arxiv.org/abs/2310.01647 as its only teacher.
"""

from collections.abc import Callable, Sequence
from math import tau

import torch
from mmdet.registry import MODELS
from mmdet.utils import OptConfigType, OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor

from ...errors import ConfigError
from ...geometry import translation
from ...geometry.warp import MatrixWarp
from .localizers import GROUP_NORM, ZeroLinear, conv_stages


@MODELS.register_module()
class OrientationLocalizer(BaseModule):
    """Scores every turn of a thumbnail by a whole number of steps of a circle; the best one is the upright one.

    All turns pass through the same network, which sees the largest disc inside of the thumbnail and nothing of its
    corners. So a tile turned by steps has the scores of the tile, shifted, and is turned back to the same picture: the
    network need not learn that. What it has to learn is which picture is upright, by
    :func:`~stn_det.models.stn.orientation_prior_loss` on images that are. The choice is hard, in training as in
    testing, and other losses do not reach it. At the start all scores are 0, and the first turn, by nothing, wins.

    Args:
        num_orientations: Turns, of 360 degrees / num_orientations each.
        in_channels: Channels of the thumbnail, or of the features that are computed of it.
        channels: Channels of each convolution, all of stride 2.
        margin: By how much, in testing, the score of a turn has to exceed that of no turn: the logarithm of how many
            times likelier an upright image is than one turned by any other step. Above 0 fewer upright images are
            turned, and more turned ones are left.
        norm_cfg: Normalisation after each convolution; None for none.
        init_cfg: Weight initialisation.

    Raises:
        ConfigError: If there are fewer than two turns, no convolution, or the margin is negative.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import MODELS
        >>> localizer = MODELS.build(dict(type='OrientationLocalizer', num_orientations=4))
        >>> logits = localizer(torch.rand(2, 3, 96, 128))
        >>> logits.shape, localizer.angles(logits).tolist()
        (torch.Size([2, 4]), [0.0, 0.0])
    """

    def __init__(
        self,
        num_orientations: int = 8,
        in_channels: int = 3,
        channels: Sequence[int] = (16, 32, 64, 64),
        margin: float = 0.0,
        norm_cfg: OptConfigType = GROUP_NORM,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if num_orientations < 2:
            raise ConfigError(f'num_orientations is {num_orientations}, expected 2 or more turns to choose from')
        if margin < 0:
            raise ConfigError(f'margin is {margin}, expected 0 or more')
        self.num_orientations, self.margin = num_orientations, margin
        self.stages = conv_stages(in_channels, channels, norm_cfg)
        self.score = ZeroLinear(channels[-1], 1, bias=False)

    def forward(self, thumbnail: Tensor, features: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Scores of the turns.

        Args:
            thumbnail: (N, C, h, w).
            features: Computed of each turned thumbnail and looked at in its place; None for the thumbnail itself.

        Returns:
            (N, num_orientations): how upright the thumbnail looks after a turn by k * 360 / num_orientations degrees,
            clockwise on screen.
        """
        views = self._turned(thumbnail)
        seen = self.stages(views if features is None else features(views))
        return self.score(seen.mean((2, 3))).view(-1, self.num_orientations)

    def angles(self, logits: Tensor) -> Tensor:
        """Turns (N,) in radians, clockwise on screen, that stand tiles of scores (N, num_orientations) upright.

        0 where a score is not finite.
        """
        finite = logits.isfinite().all(1, keepdim=True)
        if self.margin and not self.training:
            logits = torch.cat([logits[:, :1] + self.margin, logits[:, 1:]], 1)
        best = torch.where(finite, logits, 0).argmax(1)  # the first of equal ones
        return self._steps(logits.device)[best]

    def _steps(self, device: torch.device) -> Tensor:
        """Angles (num_orientations,) in (-pi, pi], float64."""
        steps = torch.arange(self.num_orientations, device=device, dtype=torch.float64) / self.num_orientations
        return torch.where(steps > 0.5, steps - 1, steps) * tau

    def _turned(self, thumbnail: Tensor) -> Tensor:
        """The disc in the middle of each thumbnail under all turns, (N * num_orientations, C, side, side)."""
        images, _, height, width = thumbnail.shape
        side = min(height, width)
        angles = self._steps(thumbnail.device).repeat(images)[:, None]
        turns = MatrixWarp.from_parameters(angles, 'rotation', (height, width))
        crop = translation((side - width) / 2, (side - height) / 2).to(angles.device)
        crop_warp = MatrixWarp(crop.expand(len(turns), 3, 3), (height, width), side)
        views = crop_warp.after(turns).transform_images(thumbnail.repeat_interleave(self.num_orientations, 0), 'border')
        return views * _disc(side, views)


def _disc(side: int, like: Tensor) -> Tensor:
    """1 where the centre of a pixel is inside of the circle in a square, (side, side)."""
    away = torch.arange(side, device=like.device) + 0.5 - side / 2
    return (away.square()[:, None] + away.square() <= (side / 2) ** 2).to(like.dtype)
