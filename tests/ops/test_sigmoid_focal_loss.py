"""Sigmoid focal loss."""

import math

import pytest
import torch
import torch.nn.functional as F

from stn_det.errors import InputError
from stn_det.ops import sigmoid_focal_loss

pytestmark = pytest.mark.usefixtures('implementation')


def plain_loss(logits, target, gamma, alpha):
    out = []
    for row, label in zip(logits, target):
        line = []
        for column, logit in enumerate(row):
            p = 1 / (1 + math.exp(-logit))
            if column == label:
                line.append(-alpha * (1 - p) ** gamma * math.log(p))
            else:
                line.append(-(1 - alpha) * p**gamma * math.log(1 - p))
        out.append(line)
    return torch.tensor(out, dtype=torch.float64)


@pytest.mark.parametrize(('gamma', 'alpha'), [(2.0, 0.25), (0.0, 0.5), (1.5, 0.9)])
def test_matches_the_formula(gamma: float, alpha: float) -> None:
    logits, target = 3 * torch.randn(20, 4, dtype=torch.float64), torch.randint(0, 5, (20,))
    expected = plain_loss(logits.tolist(), target.tolist(), gamma, alpha)
    torch.testing.assert_close(sigmoid_focal_loss(logits, target, gamma, alpha, reduction='none'), expected)
    torch.testing.assert_close(sigmoid_focal_loss(logits, target, gamma, alpha, reduction='sum'), expected.sum())
    torch.testing.assert_close(sigmoid_focal_loss(logits, target, gamma, alpha), expected.sum() / 20)


def test_gamma_zero_is_half_the_cross_entropy() -> None:
    logits, target = torch.randn(10, 3), torch.randint(0, 3, (10,))
    expected = 0.5 * F.binary_cross_entropy_with_logits(logits, F.one_hot(target, 3).float(), reduction='sum')
    torch.testing.assert_close(sigmoid_focal_loss(logits, target, 0.0, 0.5, reduction='sum'), expected)


def test_background_and_labels_outside_are_all_negative() -> None:
    logits = torch.randn(1, 3)
    values = [sigmoid_focal_loss(logits, torch.tensor([label]), reduction='none') for label in (3, -1, 99)]
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], values[2])
    assert (values[0] < sigmoid_focal_loss(logits.abs() + 5, torch.tensor([3]), reduction='none')).all()


def test_weight_is_that_of_the_target_class() -> None:
    logits, target, weight = torch.randn(3, 2), torch.tensor([0, 1, 2]), torch.tensor([2.0, 3.0])
    plain = sigmoid_focal_loss(logits, target, reduction='none')
    weighted = sigmoid_focal_loss(logits, target, weight=weight, reduction='none')
    torch.testing.assert_close(weighted, plain * torch.tensor([[2.0], [3.0], [1.0]]))


def test_gradcheck_and_extreme_logits() -> None:
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 1, 3, 2, 3])
    assert torch.autograd.gradcheck(lambda x: sigmoid_focal_loss(x, target, reduction='none'), (logits,))
    extreme = torch.tensor([[200.0, -200.0]]).repeat(3, 1).requires_grad_()
    loss = sigmoid_focal_loss(extreme, torch.tensor([0, 1, 2]), reduction='none')
    loss.sum().backward()
    assert loss[1, 1].item() == pytest.approx(0.25 * 200)
    assert loss[1, 0].item() == pytest.approx(0.75 * 200)
    assert loss[0].tolist() == [0, 0]
    assert extreme.grad.isfinite().all()


def test_empty_half_and_errors() -> None:
    assert sigmoid_focal_loss(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).item() == 0
    half = torch.randn(4, 3).bfloat16()
    target = torch.tensor([0, 1, 2, 3])
    loss = sigmoid_focal_loss(half, target, reduction='none')
    assert torch.equal(loss, sigmoid_focal_loss(half.float(), target, reduction='none').bfloat16())
    with pytest.raises(InputError, match='target has length 3'):
        sigmoid_focal_loss(half, target[:3])
    with pytest.raises(InputError, match=r'target has dtype torch.float32, expected class indices'):
        sigmoid_focal_loss(half, target.float())
    with pytest.raises(InputError, match=r'weight has shape \(4,\), expected \(3,\)'):
        sigmoid_focal_loss(half, target, weight=torch.ones(4))
    with pytest.raises(InputError, match="reduction is 'avg'"):
        sigmoid_focal_loss(half, target, reduction='avg')
