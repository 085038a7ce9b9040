"""Losses on warps: 0 for the identity, known values, a gradient that leads back."""

import math

import pytest
import torch
from mmdet.registry import MODELS

from stn_det.errors import InputError
from stn_det.geometry import scaling, translation
from stn_det.geometry.warp import MatrixWarp, ThinPlateWarp
from stn_det.models.stn import (
    area_loss,
    bending_loss,
    coverage_loss,
    orientation_prior_loss,
    parameter_loss,
    pose_prior_loss,
)


def shifted(x):
    return MatrixWarp(translation(x, 0)[None], (50, 200))  # the unit is 50 pixels


@pytest.mark.parametrize('family', ['similarity', 'homography', 'thin_plate'])
@pytest.mark.parametrize('count', [0, 2])
def test_identity_and_no_image_cost_nothing(family, count):
    found = MODELS.build(dict(type='SpatialTransformer', family=family))(torch.rand(count, 3, 40, 60))
    assert parameter_loss(found.parameters) == 0
    assert area_loss(found.warp) == 0
    assert coverage_loss(found.warp) == 0
    assert pose_prior_loss(found.parameters, torch.full_like(found.parameters, 0.2), 0.2) == 0
    if family == 'thin_plate':
        assert bending_loss(found.parameters) == 0


def test_parameters_are_squared():
    assert parameter_loss(torch.tensor([[1.0, 2], [0, 3]])) == 14 / 4


def test_area_counts_growing_and_shrinking_alike():
    for factor in (2.0, 0.5):
        warp = MatrixWarp(scaling(factor, factor)[None], (50, 200))
        assert area_loss(warp).item() == pytest.approx(math.log(4) ** 2)


@pytest.mark.parametrize('x', [30.0, -30.0])
def test_coverage_is_the_distance_to_the_frame(x):
    grid = torch.arange(20) * 10 + 5 + x  # where 20 columns land
    distance = ((-grid).relu() + (grid - 200).relu()).mean() / 50
    assert coverage_loss(shifted(x), grid=20).item() == pytest.approx(distance.item())


def test_coverage_leads_back_into_the_frame():
    x = torch.tensor([60.0, -30.0], requires_grad=True)
    coverage_loss(MatrixWarp(translation(x, 0), (50, 200))).backward()
    assert x.grad[0] > 0
    assert x.grad[1] < 0


def test_bending_is_0_for_affine_displacements():
    y, x = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing='ij')
    affine = torch.stack([0.2 * x - 0.1 * y + 1, 0.3 * y], -1).view(1, -1)
    assert bending_loss(affine) < 1e-12
    bent = torch.stack([x * y, torch.zeros_like(x)], -1).view(1, -1)  # d_xy = 1 in one of two coordinates
    assert bending_loss(bent).item() == pytest.approx(1.0)
    assert bending_loss(torch.stack([x**2, y**2], -1).view(1, -1)).item() == pytest.approx(4.0)
    assert bending_loss(torch.rand(2, 8)) > 0  # a grid of 2 x 2 can only twist


def test_prior_of_orientations_is_a_cross_entropy():
    assert orientation_prior_loss(torch.zeros(3, 8)).item() == pytest.approx(math.log(8))
    assert orientation_prior_loss(torch.tensor([[50.0, 0, 0, 0]])) < 1e-6
    assert orientation_prior_loss(torch.zeros(0, 8)) == 0


def test_prior_of_poses_is_a_divergence():
    parameters = torch.tensor([[0.1, -0.3]], dtype=torch.float64)
    sigma = torch.tensor([[0.2, 0.7]], dtype=torch.float64)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(parameters, sigma), normal(torch.zeros(2), 0.5)).mean()
    assert pose_prior_loss(parameters, sigma, 0.5).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize('loss', [area_loss, coverage_loss])
def test_gradients_through_warps(loss):
    numbers = 0.1 * torch.randn(1, 8, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda p: loss(MatrixWarp.from_parameters(p, 'homography', (30, 40)), 4), numbers.requires_grad_()
    )
    plates = 0.1 * torch.randn(1, 18, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda p: loss(ThinPlateWarp.from_parameters(p, (30, 40)), 4), plates.requires_grad_()
    )


def test_inputs_that_do_not_fit():
    with pytest.raises(InputError, match=r'shape \(2, 10\), expected \(N, G \* G \* 2\) for a square grid'):
        bending_loss(torch.zeros(2, 10))
    with pytest.raises(InputError, match='prior is 0'):
        pose_prior_loss(torch.zeros(1, 2), torch.ones(1, 2), 0)
