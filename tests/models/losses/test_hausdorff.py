"""Hausdorff distances by hand and against many points on the outlines."""

import math

import pytest
import torch
from mmdet.registry import MODELS
from torch import Tensor

from stn_det.errors import ConfigError, InputError
from stn_det.geometry import rbox_to_qbox
from stn_det.models.losses import hausdorff_loss, pairs, rotated_hausdorff


def random_boxes(count: int, seed: int) -> Tensor:
    """Boxes of 5 to 65 pixels near one another, float64."""
    u = torch.rand((count, 5), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.tensor([500.0, 700, 5, 5, -math.pi / 2]) + u * torch.tensor([60.0, 60, 60, 60, math.pi])


def outline(box: Tensor, steps: int) -> Tensor:
    """Points (4 * steps, 2) along the sides of a box (5,)."""
    corners = rbox_to_qbox(box[None]).reshape(4, 2)
    share = torch.arange(steps, dtype=box.dtype)[:, None] / steps
    return torch.cat([a + share * (b - a) for a, b in zip(corners, corners.roll(-1, 0))])


def between_sets(first: Tensor, second: Tensor) -> float:
    """Hausdorff distance of two sets of points."""
    distance = torch.cdist(first, second)
    return max(distance.amin(1).max().item(), distance.amin(0).max().item())


def test_known_distances() -> None:
    box = torch.tensor([[10.0, 10, 8, 4, 0]])
    others = torch.tensor(
        [[13.0, 14, 8, 4, 0], [10, 10, 8, 4, math.pi], [10, 10, 4, 8, math.pi / 2], [10, 10, 2, 2, 0]]
    )
    # moved by (3, 4); itself; itself; the corner (4, 2) is (3, 1) from the corner of the small one
    expected = torch.tensor([[5.0, 0, 0, math.sqrt(10)]])
    for mode in ('boundary', 'corners'):
        torch.testing.assert_close(rotated_hausdorff(box, others, mode=mode), expected, rtol=0, atol=1e-5)


def test_boundary_equals_points_along_the_outlines() -> None:
    first, second = random_boxes(12, 1), random_boxes(9, 2)
    found = rotated_hausdorff(first, second)
    steps = 200  # a point every 65 / 200 pixels at most
    expected = torch.tensor([[between_sets(outline(a, steps), outline(b, steps)) for b in second] for a in first])
    assert (found - expected).abs().max() < 0.33


def test_corners_equal_sets_of_corners() -> None:
    first, second = random_boxes(12, 3), random_boxes(9, 4)
    expected = [[between_sets(outline(a, 1), outline(b, 1)) for b in second] for a in first]
    torch.testing.assert_close(
        rotated_hausdorff(first, second, mode='corners'), torch.tensor(expected, dtype=torch.float64)
    )


@pytest.mark.parametrize('mode', ['boundary', 'corners'])
def test_symmetric_chunked_and_aligned_agree(mode: str, monkeypatch) -> None:
    first, second = random_boxes(15, 5), random_boxes(15, 6)
    whole = rotated_hausdorff(first, second, mode=mode)
    torch.testing.assert_close(rotated_hausdorff(second, first, mode=mode), whole.T)
    torch.testing.assert_close(rotated_hausdorff(first, second, aligned=True, mode=mode), whole.diagonal())
    monkeypatch.setattr(pairs, 'PAIRS_AT_ONCE', 31)
    assert torch.equal(rotated_hausdorff(first, second, mode=mode), whole)


def test_loss_does_not_depend_on_the_scale() -> None:
    pred, target = random_boxes(20, 7), random_boxes(20, 8)
    scale = torch.tensor([7.0, 7, 7, 7, 1])
    torch.testing.assert_close(hausdorff_loss(pred * scale, target * scale), hausdorff_loss(pred, target))
    torch.testing.assert_close(
        hausdorff_loss(pred, target, normalize=False), rotated_hausdorff(pred, target).diagonal()
    )


@pytest.mark.parametrize('mode', ['boundary', 'corners'])
def test_gradcheck(mode: str) -> None:
    pred, target = random_boxes(6, 9).requires_grad_(), random_boxes(6, 10).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p, t: rotated_hausdorff(p, t, mode=mode), (pred, target), eps=1e-6, atol=1e-5
    )


@pytest.mark.parametrize('mode', ['boundary', 'corners'])
def test_odd_boxes_are_finite(mode: str) -> None:
    pred = torch.tensor(
        [[0.0, 0, 0, 0, 0], [1e5, -1e5, 1e5, 1, 3], [10, 10, 20, 5, 0.3], [1e5, 0, 1e5, 1e5, -1.5]], requires_grad=True
    )
    for target in (pred.detach(), torch.tensor([[10.0, 10, 20, 5, 0.3]]).repeat(4, 1), torch.zeros(4, 5)):
        value = hausdorff_loss(pred, target, mode=mode)
        (gradient,) = torch.autograd.grad(value.sum(), pred)
        assert torch.isfinite(value).all()
        assert torch.isfinite(gradient).all()
    assert hausdorff_loss(pred, pred.detach(), mode=mode).abs().max() == 0


@pytest.mark.parametrize('mode', ['boundary', 'corners'])
def test_a_box_that_is_no_number_has_no_finite_distance(mode: str) -> None:
    box = torch.tensor([[10.0, 10, 20, 5, 0.3]])
    broken = box.repeat(2, 1)
    broken[0, 4], broken[1, 0] = float('nan'), float('inf')
    assert not rotated_hausdorff(broken, box, mode=mode).isfinite().any()


def test_no_boxes_give_an_empty_matrix() -> None:
    assert rotated_hausdorff(torch.zeros(0, 5), torch.zeros(3, 5)).shape == (0, 3)
    assert rotated_hausdorff(torch.zeros(3, 5), torch.zeros(0, 5)).shape == (3, 0)


def test_bad_inputs_are_refused() -> None:
    with pytest.raises(InputError, match=r'boxes1 has shape \(3, 4\), expected \(M, 5\)'):
        rotated_hausdorff(torch.zeros(3, 4), torch.zeros(3, 5))
    with pytest.raises(InputError, match=r'boxes2 has length 2 .* expected 3 like boxes1'):
        rotated_hausdorff(torch.zeros(3, 5), torch.zeros(2, 5), aligned=True)
    with pytest.raises(InputError, match="mode is 'sides', expected one of 'boundary', 'corners'"):
        rotated_hausdorff(torch.zeros(3, 5), torch.zeros(3, 5), mode='sides')
    with pytest.raises(ConfigError, match="mode is 'sides'; expected one of"):
        MODELS.build(dict(type='HausdorffLoss', mode='sides'))
