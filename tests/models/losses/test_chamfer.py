"""Chamfer distances by hand and against the sets of corners."""

import math

import pytest
import torch
from mmdet.registry import MODELS
from torch import Tensor

from stn_det.errors import ConfigError, InputError
from stn_det.geometry import rbox_to_qbox
from stn_det.models.losses import chamfer_loss, pairs, rotated_chamfer


def random_boxes(count: int, seed: int) -> Tensor:
    """Boxes of 5 to 65 pixels near one another, float64."""
    u = torch.rand((count, 5), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.tensor([500.0, 700, 5, 5, -math.pi / 2]) + u * torch.tensor([60.0, 60, 60, 60, math.pi])


def between_corners(first: Tensor, second: Tensor) -> float:
    """Sum of the mean distances from the corners of a box (5,) to the nearest of another, both ways."""
    distance = torch.cdist(rbox_to_qbox(first[None]).reshape(4, 2), rbox_to_qbox(second[None]).reshape(4, 2))
    return (distance.amin(1).mean() + distance.amin(0).mean()).item()


def test_known_distances() -> None:
    box = torch.tensor([[10.0, 10, 8, 4, 0]])
    others = torch.tensor(
        [[11.5, 12, 8, 4, 0], [10, 10, 8, 4, math.pi], [10, 10, 4, 8, math.pi / 2], [10, 10, 2, 2, 0]]
    )
    # moved by (1.5, 2): 2.5 both ways; itself; itself; the corner (4, 2) is (3, 1) from the corner of the small one
    expected = torch.tensor([[5.0, 0, 0, 2 * math.sqrt(10)]])
    torch.testing.assert_close(rotated_chamfer(box, others), expected, rtol=0, atol=1e-5)


def test_equals_sets_of_corners() -> None:
    first, second = random_boxes(12, 1), random_boxes(9, 2)
    expected = [[between_corners(a, b) for b in second] for a in first]
    torch.testing.assert_close(rotated_chamfer(first, second), torch.tensor(expected, dtype=torch.float64))


def test_symmetric_chunked_and_aligned_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = random_boxes(15, 3), random_boxes(15, 4)
    whole = rotated_chamfer(first, second)
    torch.testing.assert_close(rotated_chamfer(second, first), whole.T)
    torch.testing.assert_close(rotated_chamfer(first, second, aligned=True), whole.diagonal())
    monkeypatch.setattr(pairs, 'PAIRS_AT_ONCE', 31)
    assert torch.equal(rotated_chamfer(first, second), whole)


def test_a_turn_of_the_image_changes_nothing() -> None:
    first, second = random_boxes(15, 5), random_boxes(15, 6)
    turned = [torch.stack([-b[:, 1], b[:, 0], b[:, 2], b[:, 3], b[:, 4] + math.pi / 2], 1) for b in (first, second)]
    torch.testing.assert_close(rotated_chamfer(*turned), rotated_chamfer(first, second))


def test_loss_does_not_depend_on_the_scale() -> None:
    pred, target = random_boxes(20, 7), random_boxes(20, 8)
    scale = torch.tensor([7.0, 7, 7, 7, 1])
    torch.testing.assert_close(chamfer_loss(pred * scale, target * scale), chamfer_loss(pred, target))
    torch.testing.assert_close(chamfer_loss(pred, target, normalize=False), rotated_chamfer(pred, target).diagonal())
    module = MODELS.build(dict(type='ChamferLoss', loss_weight=2.0))
    torch.testing.assert_close(module(pred, target), 2 * chamfer_loss(pred, target).mean().float())


def test_gradcheck() -> None:
    pred, target = random_boxes(6, 9).requires_grad_(), random_boxes(6, 10).requires_grad_()
    assert torch.autograd.gradcheck(rotated_chamfer, (pred, target), eps=1e-6, atol=1e-5)


def test_odd_boxes_are_finite() -> None:
    pred = torch.tensor(
        [[0.0, 0, 0, 0, 0], [1e5, -1e5, 1e5, 1, 3], [10, 10, 20, 5, 0.3], [1e5, 0, 1e5, 1e5, -1.5]], requires_grad=True
    )
    for target in (pred.detach(), torch.tensor([[10.0, 10, 20, 5, 0.3]]).repeat(4, 1), torch.zeros(4, 5)):
        value = chamfer_loss(pred, target)
        (gradient,) = torch.autograd.grad(value.sum(), pred)
        assert torch.isfinite(value).all()
        assert torch.isfinite(gradient).all()
    assert chamfer_loss(pred, pred.detach()).abs().max() == 0


def test_a_box_that_is_no_number_has_no_finite_distance() -> None:
    box = torch.tensor([[10.0, 10, 20, 5, 0.3]])
    broken = box.repeat(2, 1)
    broken[0, 4], broken[1, 0] = float('nan'), float('inf')
    assert not rotated_chamfer(broken, box).isfinite().any()


def test_no_boxes() -> None:
    assert rotated_chamfer(torch.zeros(0, 5), torch.zeros(3, 5)).shape == (0, 3)
    assert rotated_chamfer(torch.zeros(3, 5), torch.zeros(0, 5)).shape == (3, 0)
    empty = torch.zeros(0, 5, requires_grad=True)
    loss = MODELS.build(dict(type='ChamferLoss'))(empty, torch.zeros(0, 5))
    loss.backward()
    assert loss == 0


def test_bad_inputs_are_refused() -> None:
    with pytest.raises(InputError, match=r'boxes1 has shape \(3, 4\), expected \(M, 5\)'):
        rotated_chamfer(torch.zeros(3, 4), torch.zeros(3, 5))
    with pytest.raises(InputError, match=r'boxes2 has length 2 .* expected 3 like boxes1'):
        rotated_chamfer(torch.zeros(3, 5), torch.zeros(2, 5), aligned=True)
    with pytest.raises(ConfigError, match="reduction is 'max'; expected one of"):
        MODELS.build(dict(type='ChamferLoss', reduction='max'))
