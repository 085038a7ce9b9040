"""Focal losses and the Chamfer distance, with the call signatures of mmcv's extension."""

from collections.abc import Callable

import torch
from torch import Tensor

from stn_det import ops
from stn_det.checks import compute_dtype
from stn_det.ops._library import is_compiled

from .gradient import vector_jacobian


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Focal loss, https://arxiv.org/abs/1708.02002, per element of ``input`` (M, C) into ``output``."""
    output.copy_(_sigmoid_focal_loss(input, target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the derivative of each element's loss into ``grad_input``."""
    if gamma >= 0 and is_compiled('sigmoid_focal_loss', input.device):
        factors = weight.to(compute_dtype(input)) if weight.numel() else None
        grad_input.copy_(torch.ops.stn_det.sigmoid_focal_loss(input, target, factors, gamma, alpha, True, True)[1])
        return
    (grad,) = vector_jacobian(
        lambda x: _sigmoid_focal_loss(x, target, weight, gamma, alpha), (input,), torch.ones_like(input)
    )
    grad_input.copy_(grad)


def softmax_focal_loss_forward(
    softmax: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Focal loss of probabilities (M, C) into ``output`` (M,); a negative target has no loss."""
    probability = _target_probability(softmax, target)
    loss = -alpha * (1 - probability) ** gamma * _log(probability)
    output.copy_(loss * _class_weight(weight, target, softmax.shape[1]) * (target >= 0))


def softmax_focal_loss_backward(
    softmax: Tensor, target: Tensor, weight: Tensor, buff: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the derivative with respect to the logits into ``grad_input``."""
    probability = _target_probability(softmax, target)
    rest = (1 - probability).clamp(min=torch.finfo(softmax.dtype).tiny)
    # p times the derivative of the loss with respect to p, the target's probability
    slope = alpha * (gamma * probability * rest ** (gamma - 1) * _log(probability) - rest**gamma)
    buff.copy_(slope * _class_weight(weight, target, softmax.shape[1]) * (target >= 0))
    one_hot = torch.arange(softmax.shape[1], device=softmax.device) == target[:, None]
    grad_input.copy_(buff[:, None] * (one_hot.to(softmax.dtype) - softmax))


def chamfer_distance_forward(
    xyz1: Tensor, xyz2: Tensor, dist1: Tensor, dist2: Tensor, idx1: Tensor, idx2: Tensor
) -> None:
    """Squared distance of each point (B, N, 2) to the nearest of the other set (B, M, 2), and which one that is."""
    squared = (xyz1[:, :, None] - xyz2[:, None]).square().sum(-1)  # (B, N, M)
    for axis, distance, index in ((2, dist1, idx1), (1, dist2, idx2)):
        nearest, where = squared.min(axis)
        distance.copy_(nearest)
        index.copy_(where)


def chamfer_distance_backward(
    xyz1: Tensor,
    xyz2: Tensor,
    idx1: Tensor,
    idx2: Tensor,
    graddist1: Tensor,
    graddist2: Tensor,
    gradxyz1: Tensor,
    gradxyz2: Tensor,
) -> None:
    """Add the gradients of both point sets, through the pairs that the forward found."""
    for first, second, index, grad, grad_first, grad_second in (
        (xyz1, xyz2, idx1, graddist1, gradxyz1, gradxyz2),
        (xyz2, xyz1, idx2, graddist2, gradxyz2, gradxyz1),
    ):
        where = index.long()[..., None].expand_as(first)
        flow = (2 * grad[..., None] * (first - second.gather(1, where))).to(grad_first.dtype)
        grad_first.add_(flow)
        grad_second.scatter_add_(1, where, -flow)


def _sigmoid_focal_loss(input: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    return ops.sigmoid_focal_loss(input, target, gamma, alpha, weight if weight.numel() else None, reduction='none')


def _class_weight(weight: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Weight (C,) of each target's class, 1 where it is none."""
    if not weight.numel():
        return weight.new_ones(len(target))
    known = (target >= 0) & (target < num_classes)
    return torch.where(known, weight[target.clamp(0, num_classes - 1)], 1)


def _target_probability(softmax: Tensor, target: Tensor) -> Tensor:
    return softmax.gather(1, target.clamp(min=0)[:, None])[:, 0]


def _log(probability: Tensor) -> Tensor:
    return probability.clamp(min=torch.finfo(probability.dtype).tiny).log()


OPERATORS: dict[str, Callable[..., object]] = {
    'sigmoid_focal_loss_forward': sigmoid_focal_loss_forward,
    'sigmoid_focal_loss_backward': sigmoid_focal_loss_backward,
    'softmax_focal_loss_forward': softmax_focal_loss_forward,
    'softmax_focal_loss_backward': softmax_focal_loss_backward,
    'chamfer_distance_forward': chamfer_distance_forward,
    'chamfer_distance_backward': chamfer_distance_backward,
}
