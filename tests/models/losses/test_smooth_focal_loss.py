"""The focal loss of smooth labels against a loop, mmdet's hard labels and the plain cross-entropy."""

import math

import pytest
import torch
from mmdet.registry import MODELS

from stn_det.errors import ConfigError
from stn_det.models.losses import smooth_focal_loss
from stn_det.ops import sigmoid_focal_loss


def test_equals_a_loop_over_the_elements() -> None:
    generator = torch.Generator().manual_seed(0)
    pred = torch.randn((4, 7), generator=generator, dtype=torch.float64) * 3
    target = torch.rand((4, 7), generator=generator, dtype=torch.float64)
    for row, total in enumerate(smooth_focal_loss(pred, target, gamma=1.5, alpha=0.3)):
        expected = 0.0
        for x, y in zip(pred[row].tolist(), target[row].tolist()):
            p = 1 / (1 + math.exp(-x))
            miss = y * (1 - p) + (1 - y) * p
            entropy = -y * math.log(p) - (1 - y) * math.log(1 - p)
            expected += (0.3 * y + 0.7 * (1 - y)) * miss**1.5 * entropy
        assert total.item() == pytest.approx(expected, rel=1e-9)


def test_hard_labels_give_the_focal_loss() -> None:
    pred = torch.randn((5, 4), generator=torch.Generator().manual_seed(1))
    label = torch.tensor([0, 3, 1, 2, 0])
    hard = torch.nn.functional.one_hot(label, 4).float()
    expected = sigmoid_focal_loss(pred, label, gamma=2.0, alpha=0.25, reduction='none').sum(1)
    torch.testing.assert_close(smooth_focal_loss(pred, hard), expected)


def test_without_focus_and_balance_it_is_the_cross_entropy() -> None:
    pred, target = torch.randn(3, 6, generator=torch.Generator().manual_seed(2)), torch.full((3, 6), 0.4)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(pred, target, reduction='none').sum(1)
    torch.testing.assert_close(smooth_focal_loss(pred, target, gamma=0.0, alpha=-1.0), expected)


@pytest.mark.parametrize('gamma', [0.0, 1.0, 2.0])
def test_gradcheck(gamma: float) -> None:
    pred = torch.randn((3, 5), generator=torch.Generator().manual_seed(3), dtype=torch.float64).requires_grad_()
    target = torch.rand((3, 5), generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: smooth_focal_loss(x, target, gamma=gamma), (pred,))


def test_huge_logits_are_finite() -> None:
    pred = torch.tensor([[1e5, -1e5, 1e5, -1e5]], requires_grad=True)
    value = smooth_focal_loss(pred, torch.tensor([[0.0, 1.0, 1.0, 0.5]]))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(pred.grad).all()


def test_registered_loss_has_a_term_a_row() -> None:
    pred, target = torch.randn(3, 6, generator=torch.Generator().manual_seed(5)), torch.rand(3, 6)
    loss = MODELS.build(dict(type='SmoothFocalLoss', loss_weight=3.0))
    each = loss(pred, target, reduction_override='none')
    assert each.shape == (3,)
    weight = torch.tensor([1.0, 0.0, 2.0])
    torch.testing.assert_close(loss(pred, target, weight, avg_factor=2.0), (each * weight).sum() / 2)
    empty = torch.zeros((0, 6), requires_grad=True)
    loss(empty, torch.zeros(0, 6)).backward()
    assert empty.grad.shape == (0, 6)


@pytest.mark.parametrize(
    ('kwargs', 'match'), [(dict(gamma=-1.0), 'gamma is -1.0; expected'), (dict(alpha=1.5), 'alpha is 1.5; expected')]
)
def test_impossible_settings_are_refused(kwargs: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        MODELS.build(dict(type='SmoothFocalLoss', **kwargs))
