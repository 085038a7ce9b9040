"""Turns the features of oriented regions so that objects always point the same way."""

import math

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.utils import OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...checks import compute_dtype
from ...errors import ConfigError, InputError


@MODELS.register_module()
class RoIHeading(BaseModule):
    """Picks one of the two, or four, ways in which an oriented region can be read.

    An le90 box says where the long side lies, not which end is the bow: a ship and the same ship turned by half give
    the same box and features turned by half. One small scorer judges every turn of the features, and the turn with the
    highest score is taken, with the region turned alike. So a ship and the ship turned by half end in the same features
    and the same code, and what follows need not learn both. A half turn of pooled features is a flip of both axes, a
    quarter turn also exchanges the sides of the region; either equals reading the turned region, and no pixel is read
    twice. Four turns are for objects about as wide as long, whose long side is a matter of chance.

    In training the gradient of the choice is that of the softmax of the scores, the straight-through estimator of
    "Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation"
    https://arxiv.org/abs/1308.3432, so that the losses of the detector alone can teach it to tell ends apart; which end
    it calls the front is then its own matter. ``loss`` teaches it the true one, where the truth has ``headings``.
    The scorer starts at zero, and with equal scores regions stay as they are.

    Args:
        in_channels: channels of the features of a region.
        roi_feat_size: bins of a region, along h and w.
        num_turns: 2 for half turns, 4 for quarter turns.
        feat_channels: channels inside the scorer.
        loss_weight: factor of ``loss``.
        init_cfg: weight initialisation.

    Raises:
        ConfigError: for another number of turns.

    Example:
        >>> import torch, stn_det.register
        >>> from mmdet.registry import MODELS
        >>> heading = MODELS.build(dict(type='RoIHeading', in_channels=8))
        >>> rois = torch.tensor([[0.0, 30.0, 30.0, 20.0, 8.0, 0.3]])
        >>> features, turned, scores = heading(torch.rand(1, 8, 7, 7), rois)
        >>> features.shape, torch.equal(turned, rois), scores.shape
        (torch.Size([1, 8, 7, 7]), True, torch.Size([1, 2]))
    """

    def __init__(
        self,
        in_channels: int,
        roi_feat_size: int = 7,
        num_turns: int = 2,
        feat_channels: int = 64,
        loss_weight: float = 1.0,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if num_turns not in (2, 4):
            raise ConfigError(f'num_turns is {num_turns}; expected 2 (half turns) or 4 (quarter turns)')
        self.num_turns = num_turns
        self.loss_weight = loss_weight
        self.reduce = nn.Conv2d(in_channels, feat_channels, 1)
        self.score = nn.Linear(feat_channels * roi_feat_size**2, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, features: Tensor, rois: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features and regions, turned.

        Args:
            features: ``(R, C, S, S)`` features of oriented regions.
            rois: ``(R, 6)`` regions (batch index, cx, cy, w, h, theta).

        Returns:
            Features ``(R, C, S, S)``; regions ``(R, 6)`` that cover the same rectangles, theta beyond pi / 2 where they
            are turned, w below h where by a quarter; and the scores of the turns ``(R, num_turns)``.
        """
        reduced = F.relu(self.reduce(features))
        scores = torch.cat([self.score(self._turned(reduced, turn).flatten(1)) for turn in range(self.num_turns)], 1)
        scores = scores.to(compute_dtype(scores))
        choice = scores.argmax(1)  # the first of equal ones: as it is
        return self._chosen(features, scores, choice), self._turned_rois(rois, choice), scores

    def loss(self, scores: Tensor, rois: Tensor, headings: Tensor) -> Tensor:
        """How badly the scores tell the true front.

        Args:
            scores: ``(P, num_turns)`` of positive regions.
            rois: ``(P, 6)`` those regions before they were turned.
            headings: ``(P,)`` angles in which their objects point, radians clockwise on screen; NaN where not known.

        Returns:
            The mean cross entropy, 0 where no heading is known.

        Raises:
            InputError: if scores and headings differ in number.
        """
        if headings.shape[0] != scores.shape[0]:
            raise InputError(f'{headings.shape[0]} headings came for {scores.shape[0]} regions; expected one each')
        known = headings.isfinite()
        step = 2 * math.pi / self.num_turns
        turns = ((headings[known] - rois[known, 5].detach()) / step).round().long() % self.num_turns
        total = F.cross_entropy(scores[known], turns, reduction='sum')
        return self.loss_weight * total / known.sum().clamp(min=1)

    def _turned(self, features: Tensor, turn: int) -> Tensor:
        """Features ``(R, C, S, S)`` of the region turned clockwise by ``turn`` of the possible turns."""
        return torch.rot90(features, turn * (4 // self.num_turns), (2, 3))

    def _chosen(self, features: Tensor, scores: Tensor, choice: Tensor) -> Tensor:
        """The features in the chosen turn; in training with the gradient of the softmax of the scores."""
        turns = torch.stack([self._turned(features, turn) for turn in range(self.num_turns)])  # (num_turns, R, C, S, S)
        chosen = turns[choice, torch.arange(len(choice), device=choice.device)]
        if not self.training:
            return chosen
        soft = scores.softmax(1).to(features.dtype).t()[..., None, None, None]
        return chosen + (turns * (soft - soft.detach())).sum(0)  # adds zero, with the gradient of the mean of the turns

    def _turned_rois(self, rois: Tensor, choice: Tensor) -> Tensor:
        theta = rois[:, 5:] + (choice * (2 * math.pi / self.num_turns)).to(rois.dtype)[:, None]
        swap = (choice * (4 // self.num_turns) % 2 == 1)[:, None]
        sides = torch.where(swap, rois[:, 3:5].flip(1), rois[:, 3:5])
        return torch.cat([rois[:, :3], sides, theta], 1)
