"""Boxes as Gaussians."""

import math

import pytest
import torch

from stn_det.errors import InputError
from stn_det.geometry import canonicalize_rboxes, gaussian_to_rbox, rbox_to_gaussian


def test_known_values():
    boxes = torch.tensor([[5.0, 6.0, 20.0, 10.0, 0.0], [5.0, 6.0, 20.0, 10.0, math.pi / 2], [0, 0, 2, 2, 0.7]])
    mean, covariance = rbox_to_gaussian(boxes)
    assert torch.equal(mean, boxes[:, :2])
    expected = torch.tensor([[[100.0, 0], [0, 25]], [[25, 0], [0, 100]], [[1, 0], [0, 1]]])
    assert torch.allclose(covariance, expected, atol=1e-5)


def test_square_root_is_the_rotated_half_sizes(rboxes):
    _, covariance = rbox_to_gaussian(rboxes)
    cos, sin = rboxes[:, 4].cos(), rboxes[:, 4].sin()
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    root = turn @ torch.diag_embed(rboxes[:, 2:4] / 2) @ turn.mT
    assert torch.allclose(root @ root, covariance)


def test_round_trip(rboxes):
    assert torch.allclose(gaussian_to_rbox(*rbox_to_gaussian(rboxes)), canonicalize_rboxes(rboxes), atol=1e-6)


def test_all_descriptions_of_a_box_have_one_gaussian(rboxes):
    _, covariance = rbox_to_gaussian(rboxes)
    for form in ('oc', 'le90', 'le135', 'pi', 'full'):
        assert torch.allclose(rbox_to_gaussian(canonicalize_rboxes(rboxes, form))[1], covariance)


def test_gradcheck(rboxes):
    boxes = rboxes[:6].clone().requires_grad_()
    assert torch.autograd.gradcheck(rbox_to_gaussian, (boxes,))
    mean, covariance = (part.detach().requires_grad_() for part in rbox_to_gaussian(boxes))
    assert torch.autograd.gradcheck(gaussian_to_rbox, (mean, covariance))


@pytest.mark.parametrize('box', [(1, 2, 0, 0, 0.3), (1, 2, 5, 5, 0.3), (1, 2, 5, 0, 0.3)])
def test_degenerate_boxes_have_finite_values_and_gradients(box):
    boxes = torch.tensor([box], dtype=torch.float64, requires_grad=True)
    result = gaussian_to_rbox(*rbox_to_gaussian(boxes))
    assert torch.allclose(result[:, :4], boxes[:, :4], atol=1e-6)
    result.sum().backward()
    assert boxes.grad.isfinite().all()


def test_a_circle_comes_back_upright():
    result = gaussian_to_rbox(torch.zeros(1, 2), 4 * torch.eye(2)[None])
    assert result.tolist() == [[0, 0, 4, 4, 0]]


def test_half_precision_does_not_overflow():
    boxes = torch.tensor([[100.0, 100.0, 900.0, 800.0, 0.2]], dtype=torch.float16)
    _, covariance = rbox_to_gaussian(boxes)
    assert covariance.dtype == torch.float32
    assert covariance.isfinite().all()


def test_errors():
    with pytest.raises(InputError, match=r'covariance must have shape \(\.\.\., 2, 2\), got \(4, 2\)'):
        gaussian_to_rbox(torch.zeros(4, 2), torch.zeros(4, 2))
    with pytest.raises(InputError, match=r'rboxes must have shape \(\.\.\., 5\), got \(4,\)'):
        rbox_to_gaussian(torch.zeros(4))
