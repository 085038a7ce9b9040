"""The alignment convolution: the ordinary one for a square of three strides, hand-worked points, gradients."""

import doctest
import math
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stn_det.errors import InputError
from stn_det.models.layers import AlignConv, LocalFrames, box_offsets, frame_offsets
from stn_det.ops import deform_conv2d

STRIDE = 8


def boxes_around_cells(size: tuple[int, int], sides: tuple[float, float], angle: float = 0.0) -> Tensor:
    """A box around every cell's centre, (1, H, W, 5)."""
    y, x = torch.meshgrid(*(STRIDE * (torch.arange(length) + 0.5) for length in size), indexing='ij')
    rest = torch.tensor([*sides, angle]).expand(*size, 3)
    return torch.cat([torch.stack([x, y], -1), rest], -1)[None]


def places_read(boxes: Tensor) -> Tensor:
    """Where the nine points of each cell read, (9, 2, H, W) as (x, y) in pixels, told by a map of coordinates."""
    y, x = torch.meshgrid(*(STRIDE * (torch.arange(length) + 0.5) for length in boxes.shape[1:3]), indexing='ij')
    maps = torch.stack([x, y])[:, None]  # two images of one channel
    offsets = box_offsets(boxes, STRIDE).expand(2, -1, -1, -1)
    return deform_conv2d(maps, offsets, torch.eye(9).view(9, 1, 3, 3), padding=1).transpose(0, 1)


@pytest.mark.parametrize('bias', [True, False])
def test_an_upright_square_of_three_strides_is_the_ordinary_convolution(bias: bool) -> None:
    conv = AlignConv(6, 5, bias=bias)
    x = torch.randn(2, 6, 7, 11)
    boxes = boxes_around_cells((7, 11), (3.0 * STRIDE, 3.0 * STRIDE)).expand(2, -1, -1, -1)
    expected = F.conv2d(x, conv.conv.weight, conv.conv.bias, padding=1)
    torch.testing.assert_close(conv(x, boxes, STRIDE), expected, rtol=1e-5, atol=1e-5)


def test_points_of_a_box_at_45_degrees() -> None:
    """100 x 20 at (60, 68): thirds of 33.33 and 6.67 pixels, 23.570 and 4.714 in x and in y after the turn."""
    box = torch.tensor([60.0, 68.0, 100.0, 20.0, math.pi / 4]).expand(1, 16, 16, 5)
    places = places_read(box)[:, :, 3, 12]  # any cell
    long, short = 23.570226, 4.7140452
    expected = [
        [60 + along * long - across * short, 68 + along * long + across * short]
        for across in (-1, 0, 1)
        for along in (-1, 0, 1)
    ]
    torch.testing.assert_close(places, torch.tensor(expected), rtol=0, atol=1e-3)


@pytest.mark.parametrize('angle', [0.0, 0.7, -1.2])
def test_grid_is_that_of_the_frame_with_a_third_of_the_sides(angle: float) -> None:
    sides = (40.0, 12.0)
    boxes = boxes_around_cells((4, 5), sides, angle)
    boxes[..., :2] += torch.tensor([3.0, -5.0])
    pairs = ([3.0, -5.0], [sides[0] / 3, sides[1] / 3])
    offset, scale = (torch.tensor(pair).div(STRIDE).view(1, 2, 1, 1).expand(1, 2, 4, 5) for pair in pairs)
    direction = torch.tensor([math.cos(2 * angle), math.sin(2 * angle)]).view(1, 2, 1, 1).expand(1, 2, 4, 5)
    frames = LocalFrames(offset, scale.log(), direction)
    torch.testing.assert_close(box_offsets(boxes, STRIDE), frame_offsets(frames), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('angle', [0.0, 0.6, 1.5, -1.5])
def test_result_does_not_depend_on_how_a_box_is_written(angle: float) -> None:
    conv, x = AlignConv(2, 3), torch.randn(1, 2, 6, 6)
    result = conv(x, boxes_around_cells((6, 6), (40.0, 12.0), angle), STRIDE)
    for sides, turn in (((40.0, 12.0), math.pi), ((12.0, 40.0), math.pi / 2), ((12.0, 40.0), -math.pi / 2)):
        other = conv(x, boxes_around_cells((6, 6), sides, angle + turn), STRIDE)
        torch.testing.assert_close(other, result, rtol=1e-4, atol=1e-4)


def test_kernel_does_not_flip_where_a_box_stands() -> None:
    conv, x = AlignConv(2, 3), torch.randn(1, 2, 6, 6)
    left, right = (boxes_around_cells((6, 6), (40.0, 12.0), math.pi / 2 + lean) for lean in (-1e-4, 1e-4))
    torch.testing.assert_close(conv(x, left, STRIDE), conv(x, right, STRIDE), rtol=1e-2, atol=1e-2)


def test_gradient_to_boxes_and_map_by_finite_differences() -> None:
    conv = AlignConv(2, 3).double()
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    spread = torch.tensor([2.0, 2.0, 9.0, 5.0, 1.0], dtype=torch.float64)
    boxes = boxes_around_cells((3, 4), (20.0, 12.0), 0.3).double() + spread * torch.rand(1, 3, 4, 5).double()
    assert torch.autograd.gradcheck(lambda a, b: conv(a, b, STRIDE), (x, boxes.requires_grad_()))


def test_gradient_to_offsets_by_finite_differences() -> None:
    boxes = boxes_around_cells((2, 3), (20.0, 12.0), 0.4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda b: box_offsets(b, STRIDE), (boxes,))


@pytest.mark.parametrize('value', [1e30, -1e30, math.inf, math.nan])
def test_boxes_out_of_any_range_read_nothing(value: float) -> None:
    conv = AlignConv(2, 3)
    x = torch.randn(1, 2, 4, 4)
    boxes = boxes_around_cells((4, 4), (24.0, 24.0))
    boxes[0, 1, 2, 0] = value
    result = conv(x, boxes, STRIDE)
    assert torch.isfinite(result).all()
    torch.testing.assert_close(result[0, :, 1, 2], conv.conv.bias)


def test_boxes_keep_their_precision_under_autocast() -> None:
    conv = AlignConv(2, 3)
    x = torch.randn(1, 2, 4, 40).bfloat16()
    boxes = boxes_around_cells((4, 40), (31.0, 11.0), 0.4)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        result = conv(x, boxes, STRIDE)
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result, conv(x.float(), boxes, STRIDE).bfloat16(), rtol=0.02, atol=0.02)


def test_one_box_a_cell_is_asked_for() -> None:
    with pytest.raises(InputError, match=r'boxes has shape \(1, 4, 5, 5\), expected \(1, 4, 4, 5\)'):
        AlignConv(2, 3)(torch.randn(1, 2, 4, 4), boxes_around_cells((4, 5), (24.0, 24.0)), STRIDE)


def test_the_example_holds() -> None:
    result = doctest.testmod(sys.modules['stn_det.models.layers.align_conv'])
    assert result.attempted > 0
    assert result.failed == 0
