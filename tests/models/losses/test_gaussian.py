"""Gaussian distances against the general matrix formulas they are closed forms of."""

import math

import pytest
import torch
from torch import Tensor

from stn_det.models.losses import bcd_distance, gwd_distance, jd_distance, kld_distance, probiou_distance

DISTANCES = [kld_distance, jd_distance, gwd_distance, bcd_distance, probiou_distance]


def random_boxes(count: int, seed: int) -> Tensor:
    """Boxes of 8 to 80 pixels near one another, float64."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand((count, 5), generator=generator, dtype=torch.float64)
    low = torch.tensor([500.0, 700.0, 8.0, 8.0, -math.pi / 2])
    span = torch.tensor([20.0, 20.0, 72.0, 72.0, math.pi])
    return low + u * span


def covariance(boxes: Tensor, variance: float) -> Tensor:
    """``R diag(w^2, h^2) R^T * variance`` for boxes ``(M, 5)``."""
    cos, sin = boxes[:, 4].cos(), boxes[:, 4].sin()
    rotation = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    return rotation @ torch.diag_embed(boxes[:, 2:4] ** 2 * variance) @ rotation.mT


def matrix_root(matrix: Tensor) -> Tensor:
    """Symmetric square root."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag_embed(values.clamp(min=0).sqrt()) @ vectors.mT


def test_kld_equals_torch_distributions() -> None:
    pred, target = random_boxes(200, 1), random_boxes(200, 2)
    normal = torch.distributions.MultivariateNormal
    expected = torch.distributions.kl_divergence(
        normal(pred[:, :2], covariance(pred, 0.25)), normal(target[:, :2], covariance(target, 0.25))
    )
    torch.testing.assert_close(kld_distance(pred, target), expected, rtol=1e-9, atol=1e-9)


def test_gwd_equals_matrix_formula() -> None:
    pred, target = random_boxes(200, 3), random_boxes(200, 4)
    sigma_p, sigma_t = covariance(pred, 0.25), covariance(target, 0.25)
    root = matrix_root(sigma_p)
    cross = matrix_root(root @ sigma_t @ root)
    trace = (sigma_p + sigma_t - 2 * cross).diagonal(dim1=-2, dim2=-1).sum(-1)
    squared = (pred[:, :2] - target[:, :2]).square().sum(-1) + trace
    scale = (pred[:, 2] * pred[:, 3] * target[:, 2] * target[:, 3] / 16) ** 0.25
    torch.testing.assert_close(gwd_distance(pred, target), squared.sqrt() / scale, rtol=1e-6, atol=1e-6)


def test_jeffreys_is_the_mean_of_both_divergences() -> None:
    first, second = random_boxes(200, 11), random_boxes(200, 12)
    normals = [torch.distributions.MultivariateNormal(b[:, :2], covariance(b, 0.25)) for b in (first, second)]
    both = [torch.distributions.kl_divergence(p, q) for p, q in (normals, normals[::-1])]
    torch.testing.assert_close(jd_distance(first, second), (both[0] + both[1]) / 2, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('distance', [jd_distance, bcd_distance, probiou_distance])
def test_symmetric(distance) -> None:
    first, second = random_boxes(50, 13), random_boxes(50, 14)
    torch.testing.assert_close(distance(first, second), distance(second, first), rtol=1e-9, atol=1e-9)


def bhattacharyya(pred: Tensor, target: Tensor, variance: float) -> Tensor:
    """The general formula with matrices."""
    sigma_p, sigma_t = covariance(pred, variance), covariance(target, variance)
    mean = (sigma_p + sigma_t) / 2
    shift = (pred[:, :2] - target[:, :2]).unsqueeze(-1)
    mahalanobis = (shift.mT @ torch.linalg.inv(mean) @ shift).squeeze(-1).squeeze(-1) / 8
    ratio = torch.linalg.det(mean) / (torch.linalg.det(sigma_p) * torch.linalg.det(sigma_t)).sqrt()
    return mahalanobis + 0.5 * ratio.log()


def test_bhattacharyya_and_probiou_equal_matrix_formulas() -> None:
    pred, target = random_boxes(200, 5), random_boxes(200, 6)
    torch.testing.assert_close(bcd_distance(pred, target), bhattacharyya(pred, target, 0.25), rtol=1e-9, atol=1e-9)
    expected = (1 - torch.exp(-bhattacharyya(pred, target, 1 / 12))).sqrt()
    torch.testing.assert_close(probiou_distance(pred, target), expected, rtol=1e-6, atol=1e-6)


def test_long_boxes_keep_their_digits_in_float32() -> None:
    target = torch.tensor([[500.0, 500.0, 4000.0, 4.0, 0.8]])
    pred = target + torch.tensor([[1.0, -1.0, 20.0, 0.5, 0.002]])
    for distance in (bcd_distance, probiou_distance):
        torch.testing.assert_close(
            distance(pred, target).double(), distance(pred.double(), target.double()), rtol=1e-3, atol=0
        )


@pytest.mark.parametrize('distance', DISTANCES)
def test_zero_for_equal_boxes_and_across_the_seam(distance) -> None:
    target = torch.tensor([[300.0, 200.0, 60.0, 12.0, math.pi / 2 - 1e-4]])
    across_seam = torch.tensor([[300.0, 200.0, 60.0, 12.0, -math.pi / 2 + 1e-4]])
    swapped = torch.tensor([[300.0, 200.0, 12.0, 60.0, 1e-4]])
    for same in (target, across_seam, swapped):
        assert distance(same, target).item() < 2e-3


@pytest.mark.parametrize('distance', DISTANCES)
def test_invariant_to_common_similarity(distance) -> None:
    pred, target = random_boxes(50, 7), random_boxes(50, 8)
    turned = []
    for boxes in (pred, target):
        x, y, w, h, theta = boxes.unbind(-1)
        angle = 0.7
        centre = (
            2.5 * (x * math.cos(angle) - y * math.sin(angle)) + 11,
            2.5 * (x * math.sin(angle) + y * math.cos(angle)),
        )
        turned.append(torch.stack([*centre, 2.5 * w, 2.5 * h, theta + angle], -1))
    torch.testing.assert_close(distance(*turned), distance(pred, target), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize('distance', DISTANCES)
def test_gradcheck(distance) -> None:
    pred, target = random_boxes(6, 9).requires_grad_(), random_boxes(6, 10)
    assert torch.autograd.gradcheck(lambda boxes: distance(boxes, target), (pred,), eps=1e-5, atol=1e-5)


@pytest.mark.parametrize('distance', DISTANCES)
def test_finite_values_and_gradients_for_extreme_boxes(distance) -> None:
    pred = torch.tensor(
        [[0.0, 0, 0, 0, 0], [1e5, -1e5, 1e-6, 1e4, 3], [10, 10, 20, 5, 0.3], [50, 50, 4e4, 4e4, -1.5]],
        requires_grad=True,
    )
    target = torch.tensor([[10.0, 10, 20, 5, 0.3]]).repeat(4, 1)
    value = distance(pred, target)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(pred.grad).all()
