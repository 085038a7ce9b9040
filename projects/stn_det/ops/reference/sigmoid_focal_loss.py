"""Sigmoid focal loss in plain PyTorch, on any device."""

import torch
import torch.nn.functional as F
from torch import Tensor


def sigmoid_focal_loss_reference(
    logits: Tensor, target: Tensor, gamma: float, alpha: float, weight: Tensor | None
) -> Tensor:
    """Terms (M, C) of :func:`stn_det.ops.sigmoid_focal_loss` after its checks; logits in the dtype to compute in."""
    num_classes = logits.shape[1]
    positive = target[:, None] == torch.arange(num_classes, device=target.device)
    # With z the logit of being wrong, a term is -(sigmoid(z) ** gamma) * log(sigmoid(-z)).
    wrong = torch.where(positive, -logits, logits)
    share = torch.where(positive, alpha, 1 - alpha).to(logits.dtype)
    loss = -share * wrong.sigmoid().pow(gamma) * F.logsigmoid(-wrong)
    if weight is not None:
        factors = torch.cat([weight.to(logits.dtype), logits.new_ones(1)])
        loss = loss * factors[torch.where(positive.any(1), target, num_classes)][:, None]
    return loss
