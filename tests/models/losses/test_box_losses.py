"""Registered losses: weighting, reduction, empty input, errors, autocast."""

import math

import pytest
import torch
from mmdet.registry import MODELS

from stn_det.errors import ConfigError

PRED = torch.tensor([[50.0, 40.0, 30.0, 10.0, 0.2], [20.0, 20.0, 8.0, 8.0, 0.0]])
TRUTH = torch.tensor([[52.0, 41.0, 28.0, 12.0, 0.4], [20.0, 20.0, 8.0, 8.0, 0.0]])
CONFIGS = [
    dict(type='GaussianBoxLoss', distance='kld'),
    dict(type='GaussianBoxLoss', distance='jd'),
    dict(type='GaussianBoxLoss', distance='gwd'),
    dict(type='GaussianBoxLoss', distance='bcd'),
    dict(type='GaussianBoxLoss', distance='probiou'),
    dict(type='OrientedIoULoss', mode='iou'),
    dict(type='OrientedIoULoss', mode='giou'),
    dict(type='HausdorffLoss'),
]


@pytest.mark.parametrize('config', CONFIGS)
def test_weights_and_average(config: dict) -> None:
    loss = MODELS.build({**config, 'loss_weight': 3.0})
    each = loss(PRED, TRUTH, reduction_override='none')
    assert each.shape == (2,)
    assert each[0] > 0.05
    assert abs(each[1].item()) < 1e-2
    weight = torch.tensor([0.5, 2.0])
    torch.testing.assert_close(loss(PRED, TRUTH, weight=weight, avg_factor=4.0), (each * weight).sum() / 4)


@pytest.mark.parametrize('config', CONFIGS)
def test_reductions_and_weights_of_each_number(config: dict) -> None:
    each = MODELS.build(config)(PRED, TRUTH, reduction_override='none')
    torch.testing.assert_close(MODELS.build({**config, 'reduction': 'sum'})(PRED, TRUTH), each.sum())
    torch.testing.assert_close(MODELS.build(config)(PRED, TRUTH), each.mean())
    weight = torch.tensor([[1.0, 1, 1, 1, 1], [0.0, 0, 0, 0, 0]])  # as heads of anchors give it, a number of a box each
    torch.testing.assert_close(MODELS.build(config)(PRED, TRUTH, weight=weight, avg_factor=2.0), each[0] / 2)


@pytest.mark.parametrize('config', CONFIGS)
def test_no_boxes_give_a_zero_that_has_a_gradient(config: dict) -> None:
    pred = torch.zeros((0, 5), requires_grad=True)
    value = MODELS.build(config)(pred, torch.zeros((0, 5)), weight=torch.zeros(0), avg_factor=1.0)
    value.backward()
    assert value.item() == 0


@pytest.mark.parametrize('config', CONFIGS)
def test_autocast_changes_nothing(config: dict) -> None:
    loss = MODELS.build(config)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        inside = loss(PRED, TRUTH)
    assert inside.dtype == torch.float32
    assert inside.item() == loss(PRED, TRUTH).item()


@pytest.mark.parametrize('config', CONFIGS)
def test_odd_boxes_have_finite_values_and_gradients(config: dict) -> None:
    odd = torch.tensor(
        [[0.0, 0, 0, 0, 0], [1e5, -1e5, 1e5, 1, 3], [10, 10, 20, 5, 0.3], [1e5, 0, 1e5, 1e5, -1.5], [0, 0, 1e5, 0, 1]]
    )
    loss = MODELS.build({**config, 'reduction': 'none'})
    for target in (odd, PRED[:1].repeat(5, 1), torch.zeros(5, 5)):
        pred = odd.clone().requires_grad_()
        value = loss(pred, target)
        value.sum().backward()
        assert torch.isfinite(value).all()
        assert torch.isfinite(pred.grad).all()


def test_jeffreys_and_bhattacharyya_of_known_circles() -> None:
    pred, truth = torch.tensor([[13.0, 10, 4, 4, 0]]), torch.tensor([[10.0, 10, 4, 4, 0.3]])  # variance 4, 3 apart
    for distance, value in (('jd', 9 / 4 / 2), ('bcd', 9 / 4 / 8)):
        expected = 1 - 1 / (1 + math.log1p(value))
        loss = MODELS.build(dict(type='GaussianBoxLoss', distance=distance))
        assert loss(pred, truth).item() == pytest.approx(expected, abs=1e-6)


def test_iou_loss_of_known_overlap() -> None:
    pred, truth = torch.tensor([[10.0, 10, 10, 10, 0]]), torch.tensor([[15.0, 10, 10, 10, 0]])
    assert MODELS.build(dict(type='OrientedIoULoss'))(pred, truth).item() == pytest.approx(1 - 50 / 150, abs=1e-5)


@pytest.mark.parametrize(
    ('config', 'match'),
    [
        (dict(type='GaussianBoxLoss', distance='emd'), r"distance is 'emd'; expected one of"),
        (dict(type='OrientedIoULoss', mode='diou'), r"mode is 'diou'; expected one of"),
        (dict(type='OrientedIoULoss', reduction='avg'), r"reduction is 'avg'; expected one of"),
    ],
)
def test_unknown_choices_are_named(config: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        MODELS.build(config)
