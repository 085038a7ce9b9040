"""Focal losses and the Chamfer distance through mmcv's public wrappers, against autograd on the formulas."""

import mmcv.ops
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck

TARGET = torch.tensor([0, 2, 3, 1, 3])  # three classes, 3 is the background
GAMMA, ALPHA = 2.0, 0.25


def sigmoid_focal(logits: Tensor, factor: Tensor | float = 1.0) -> Tensor:
    one_hot = F.one_hot(TARGET, 4)[:, :3].double()
    p = logits.sigmoid()
    positive = -ALPHA * (1 - p) ** GAMMA * p.log()
    negative = -(1 - ALPHA) * p**GAMMA * (1 - p).log()
    return (one_hot * positive + (1 - one_hot) * negative) * factor


def softmax_focal(logits: Tensor, target: Tensor) -> Tensor:
    p = logits.softmax(1).gather(1, target[:, None])[:, 0]
    return -ALPHA * (1 - p) ** GAMMA * p.log()


@pytest.mark.parametrize('reduction', ['none', 'sum', 'mean'])
def test_sigmoid_focal_loss(reduction: str) -> None:
    logits = (3 * torch.randn(5, 3, dtype=torch.float64)).requires_grad_()
    result = mmcv.ops.sigmoid_focal_loss(logits, TARGET, GAMMA, ALPHA, None, reduction)
    expected = sigmoid_focal(logits)
    expected = {'none': expected, 'sum': expected.sum(), 'mean': expected.sum() / 5}[reduction]
    torch.testing.assert_close(result, expected)
    grads = [torch.autograd.grad(value.sum(), logits)[0] for value in (result, expected)]
    torch.testing.assert_close(*grads)


def test_sigmoid_focal_loss_class_weights_spare_the_background() -> None:
    weight = torch.tensor([2.0, 3.0, 5.0], dtype=torch.float64)
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    layer = mmcv.ops.SigmoidFocalLoss(GAMMA, ALPHA, weight, 'sum')
    result = layer(logits, TARGET)
    factor = torch.tensor([2.0, 5.0, 1.0, 3.0, 1.0])[:, None]
    torch.testing.assert_close(result, sigmoid_focal(logits, factor).sum())
    assert gradcheck(lambda a: layer(a, TARGET), (logits,))


def test_sigmoid_focal_loss_is_finite_for_extreme_logits() -> None:
    logits = torch.tensor([[200.0, -200.0, 0.0]], requires_grad=True)
    mmcv.ops.sigmoid_focal_loss(logits, torch.tensor([1]), GAMMA, ALPHA, None, 'sum').backward()
    assert bool(torch.isfinite(logits.grad).all())
    torch.testing.assert_close(logits.grad[0, :2], torch.tensor([0.75, -0.25]), atol=1e-4, rtol=0)


@pytest.mark.parametrize('reduction', ['none', 'sum', 'mean'])
def test_softmax_focal_loss(reduction: str) -> None:
    target = torch.tensor([0, 2, 2, 1, 0])
    logits = (2 * torch.randn(5, 3, dtype=torch.float64)).requires_grad_()
    per_row = softmax_focal(logits, target)
    expected = {'none': per_row, 'sum': per_row.sum(), 'mean': per_row.mean()}[reduction]
    (grad_expected,) = torch.autograd.grad(expected.sum(), logits)
    result = mmcv.ops.softmax_focal_loss(logits, target, GAMMA, ALPHA, None, reduction)
    torch.testing.assert_close(result, expected)
    if reduction != 'none':  # mmcv's own backward fails there: it multiplies (M, C) by grad_output (M,)
        (grad,) = torch.autograd.grad(result, logits)
        torch.testing.assert_close(grad, grad_expected)


def test_softmax_focal_loss_ignores_negative_targets_and_weighs_classes() -> None:
    target = torch.tensor([-1, 2])
    weight = torch.tensor([1.0, 1.0, 7.0], dtype=torch.float64)
    logits = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    result = mmcv.ops.softmax_focal_loss(logits, target, GAMMA, ALPHA, weight, 'sum')
    torch.testing.assert_close(result, 7 * softmax_focal(logits[1:], target[1:]).sum())
    result.backward()
    assert not logits.grad[0].any()


def test_chamfer_distance() -> None:
    first = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    second = torch.randn(2, 6, 2, dtype=torch.float64, requires_grad=True)
    dist1, dist2, idx1, idx2 = mmcv.ops.chamfer_distance(first, second)
    matrix = (first[:, :, None] - second[:, None]).square().sum(-1)
    expected = [matrix.amin(2), matrix.amin(1)]
    torch.testing.assert_close([dist1, dist2], expected, check_dtype=False)  # mmcv 2.1.0 returns float32
    assert torch.equal(idx1.long(), matrix.argmin(2))
    assert torch.equal(idx2.long(), matrix.argmin(1))
    seeds = [torch.randn_like(dist1), torch.randn_like(dist2)]
    grads = torch.autograd.grad([dist1, dist2], [first, second], seeds)
    seeds = [seed.double() for seed in seeds]
    torch.testing.assert_close(grads, torch.autograd.grad(expected, [first, second], seeds), atol=1e-5, rtol=1e-5)
