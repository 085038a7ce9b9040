"""KFIoU against the formulas with matrices, its variants, range and odd boxes."""

import math

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS

from stn_det.errors import ConfigError
from stn_det.models.losses import kf_loss, kfiou


def boxes(count: int, seed: int) -> torch.Tensor:
    """Boxes of 8 to 80 pixels near one another, float64."""
    u = torch.rand((count, 5), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.tensor([500.0, 700, 8, 8, -math.pi / 2]) + u * torch.tensor([20.0, 20, 72, 72, math.pi])


def kalman_overlap(pred: np.ndarray, target: np.ndarray) -> float:
    """KFIoU of two boxes (5,) with the gain of a Kalman filter, in numpy."""
    sigmas = []
    for _, _, w, h, theta in (pred, target):
        turn = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
        sigmas.append(turn @ np.diag([w**2 / 4, h**2 / 4]) @ turn.T)
    gain = sigmas[0] @ np.linalg.inv(sigmas[0] + sigmas[1])
    product = sigmas[0] - gain @ sigmas[0]
    areas = [4 * math.sqrt(np.linalg.det(sigma)) for sigma in (*sigmas, product)]
    return areas[2] / (areas[0] + areas[1] - areas[2])


def test_kfiou_equals_the_kalman_filter() -> None:
    pred, target = boxes(100, 1), boxes(100, 2)
    expected = [kalman_overlap(p, t) for p, t in zip(pred.numpy(), target.numpy())]
    np.testing.assert_allclose(kfiou(pred, target).numpy(), expected, rtol=1e-9)


def test_known_value_by_hand() -> None:
    # Crossed boxes 20 x 10: covariances diag(100, 25), diag(25, 100); sum 125 I; product covariance 20 I.
    # Areas 4 sqrt(2500) = 200 each, 4 * 20 = 80: 80 / (200 + 200 - 80) = 1 / 4.
    crossed = torch.tensor([[0.0, 0, 20, 10, 0], [0.0, 0, 20, 10, math.pi / 2]], dtype=torch.float64)
    assert kfiou(crossed[0], crossed[1]).item() == pytest.approx(0.25, abs=1e-12)
    values = {'none': 0.75, 'ln': math.log(4), 'exp': math.exp(0.75) - 1}
    for fun, value in values.items():
        assert kf_loss(crossed[0], crossed[1], fun).item() == pytest.approx(value, abs=1e-12)
    moved = crossed[0] + torch.tensor([5.0, 5, 0, 0, 0])  # in the target's frame 5 across and 5 along
    assert kf_loss(moved, crossed[1]).item() == pytest.approx(0.75 + math.log(1 + 25 / 25 + 25 / 100), abs=1e-12)


@pytest.mark.parametrize(('fun', 'least'), [('none', 2 / 3), ('ln', math.log(3)), ('exp', math.exp(2 / 3) - 1)])
def test_equal_boxes_have_the_least_value_also_at_the_seam(fun: str, least: float) -> None:
    target = boxes(50, 3)
    turned = target + torch.tensor([0, 0, 0, 0, math.pi], dtype=torch.float64)
    swapped = target[:, [0, 1, 3, 2, 4]] + torch.tensor([0, 0, 0, 0, math.pi / 2], dtype=torch.float64)
    for same in (target, turned, swapped):
        torch.testing.assert_close(kf_loss(same, target, fun), torch.full((50,), least, dtype=torch.float64))
    assert (kf_loss(boxes(50, 4), target, fun) > least + 1e-6).all()


@pytest.mark.parametrize('fun', ['none', 'ln', 'exp'])
def test_scale_and_turn_in_common_change_nothing(fun: str) -> None:
    pred, target = boxes(50, 5), boxes(50, 6)
    turned = []
    for each in (pred, target):
        x, y, w, h, theta = each.unbind(-1)
        c, s = 3 * math.cos(0.4), 3 * math.sin(0.4)
        turned.append(torch.stack([c * x - s * y, s * x + c * y, 3 * w, 3 * h, theta + 0.4], -1))
    torch.testing.assert_close(kf_loss(*turned, fun), kf_loss(pred, target, fun), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize('fun', ['none', 'ln', 'exp'])
def test_gradcheck(fun: str) -> None:
    pred, target = boxes(6, 7).requires_grad_(), boxes(6, 8).requires_grad_()
    assert torch.autograd.gradcheck(lambda p, t: kf_loss(p, t, fun), (pred, target), eps=1e-5, atol=1e-5)


@pytest.mark.parametrize('fun', ['none', 'ln', 'exp'])
def test_odd_boxes_are_finite(fun: str) -> None:
    pred = torch.tensor([[0.0, 0, 0, 0, 0], [1e5, -1e5, 1e5, 1, 3], [10, 10, 20, 5, 0.3], [1e5, 0, 1e5, 1e5, -1.5]])
    pred.requires_grad_()
    for target in (pred.detach(), torch.tensor([[10.0, 10, 20, 5, 0.3]]).repeat(4, 1), torch.zeros(4, 5)):
        value = kf_loss(pred, target, fun)
        (gradient,) = torch.autograd.grad(value.sum(), pred)
        assert torch.isfinite(value).all()
        assert torch.isfinite(gradient).all()


def test_boxes_far_apart_are_drawn_together() -> None:
    pred = torch.tensor([[400.0, 10, 20, 10, 0.2]], requires_grad=True)
    kf_loss(pred, torch.tensor([[10.0, 10, 20, 10, 0.2]])).backward()
    assert pred.grad[0, 0] > 1e-3


def test_registered_loss_weights_and_averages() -> None:
    pred, target = boxes(3, 9).float(), boxes(3, 10).float()
    loss = MODELS.build(dict(type='KFLoss', fun='exp', loss_weight=2.0))
    each = kf_loss(pred, target, 'exp')
    torch.testing.assert_close(loss(pred, target, reduction_override='none'), 2 * each)
    weight = torch.tensor([1.0, 0.0, 3.0])
    torch.testing.assert_close(loss(pred, target, weight, avg_factor=5.0), 2 * (each * weight).sum() / 5)
    none = torch.zeros((0, 5), requires_grad=True)
    loss(none, torch.zeros(0, 5)).backward()
    assert none.grad.shape == (0, 5)


def test_unknown_function_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"fun is 'log'; expected one of \('none', 'ln', 'exp'\)"):
        MODELS.build(dict(type='KFLoss', fun='log'))
    with pytest.raises(ConfigError, match="fun is 'log'; expected"):
        kf_loss(boxes(1, 1), boxes(1, 2), 'log')
