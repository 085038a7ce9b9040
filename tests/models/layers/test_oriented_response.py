"""Active rotating filters: kernels that turn, answers that do not care how the image is turned."""

import doctest
import sys

import pytest
import torch
import torch.nn.functional as F

from stn_det.errors import ConfigError
from stn_det.models.layers.oriented_response import ORConv2d, kernel_places, orientation_pool, rotated_kernels


def test_a_kernel_turned_by_45_degrees() -> None:
    kernel = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    turned = rotated_kernels(kernel[None, None], kernel_places())
    assert turned.shape == (8, 1, 3, 3)
    assert torch.equal(turned[0, 0], kernel)
    assert turned[1, 0].tolist() == [[4, 1, 2], [7, 5, 3], [8, 9, 6]]  # the top left goes to the top


@pytest.mark.parametrize('quarters', [1, 2, 3])
def test_two_steps_are_a_quarter_turn_clockwise(quarters: int) -> None:
    kernels = torch.randn(2, 3, 3, 3)
    turned = rotated_kernels(kernels, kernel_places()).unflatten(0, (2, 8))
    assert torch.equal(turned[:, 2 * quarters], torch.rot90(kernels, -quarters, (2, 3)))


def test_eight_directions_of_each_kernel_lie_side_by_side() -> None:
    conv, x = ORConv2d(3, 16), torch.randn(2, 3, 6, 7)
    second = F.conv2d(x, rotated_kernels(conv.weight[1:], conv.places), padding=1)
    torch.testing.assert_close(conv(x)[:, 8:], second)


def test_pooled_answers_turn_with_the_image() -> None:
    conv, x = ORConv2d(3, 16), torch.randn(2, 3, 6, 7)
    of_turned = orientation_pool(conv(torch.rot90(x, 1, (2, 3))))
    torch.testing.assert_close(of_turned, torch.rot90(orientation_pool(conv(x)), 1, (2, 3)), rtol=1e-5, atol=1e-5)


def test_pool_takes_the_largest_of_eight_neighbours() -> None:
    x = torch.zeros(1, 16, 1, 1)
    x[0, 5], x[0, 6], x[0, 12] = 3.0, 4.0, -2.0
    assert orientation_pool(x).flatten().tolist() == [4.0, 0.0]


def test_gradient_by_finite_differences() -> None:
    weight = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda kernel: F.conv2d(x, rotated_kernels(kernel, kernel_places()), padding=1), (weight,)
    )


@pytest.mark.parametrize('channels', [0, 12])
def test_channels_without_eight_directions_are_refused(channels: int) -> None:
    with pytest.raises(ConfigError, match=f'out_channels is {channels}; expected a multiple of 8'):
        ORConv2d(3, channels)


def test_the_example_holds() -> None:
    result = doctest.testmod(sys.modules['stn_det.models.layers.oriented_response'])
    assert result.attempted > 0
    assert result.failed == 0
