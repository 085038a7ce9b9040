"""Frames of cells: the regular grid at zero, bounds, and where a turned grid really reads."""

import math

import pytest
import torch
from torch import Tensor

from stn_det.models.layers import LocalFrames, decode_frames, frame_offsets
from stn_det.ops import deform_conv2d


def constant_frames(size: tuple[int, int], offset: list[float], scale: list[float], angle: float) -> LocalFrames:
    """The same frame in every cell of one map."""
    direction = [math.cos(2 * angle), math.sin(2 * angle)]
    maps = [torch.tensor(pair).view(1, 2, 1, 1).expand(1, 2, *size) for pair in (offset, scale, direction)]
    return LocalFrames(maps[0], maps[1].log(), maps[2])


def places_read(frames: LocalFrames) -> Tensor:
    """Where the nine points of each cell read, (9, 2, H, W) as (x, y), told by a map that holds its own coordinates."""
    height, width = frames.offset.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing='ij')
    one_point = torch.eye(9).view(9, 1, 3, 3)
    maps = torch.stack([x, y])[:, None]  # two images of one channel
    offsets = frame_offsets(frames).expand(2, -1, -1, -1)
    return deform_conv2d(maps, offsets, one_point, padding=1).transpose(0, 1)


def test_zero_is_the_regular_grid_bit_for_bit() -> None:
    frames = decode_frames(torch.zeros(2, 6, 3, 5), max_offset=4, max_scale=3)
    assert torch.equal(frame_offsets(frames), torch.zeros(2, 18, 3, 5))


@pytest.mark.parametrize('size', [(12, 20), (20, 12), (13, 13)])
@pytest.mark.parametrize('degrees', [0, 30, 90, -60])
def test_the_kernel_reads_the_turned_and_scaled_grid(size: tuple[int, int], degrees: float) -> None:
    angle, offset, scale = math.radians(degrees), [0.75, -0.5], [2.0, 0.5]
    places = places_read(constant_frames(size, offset, scale, angle))
    row, column = size[0] // 2, size[1] // 2
    for point, place in enumerate(places):
        along, across = (point % 3 - 1) * scale[0], (point // 3 - 1) * scale[1]
        x = column + 0.5 + offset[0] + math.cos(angle) * along - math.sin(angle) * across
        y = row + 0.5 + offset[1] + math.sin(angle) * along + math.cos(angle) * across
        assert place[:, row, column].tolist() == pytest.approx([x, y], abs=1e-4)


def test_a_positive_angle_is_clockwise_on_screen() -> None:
    places = places_read(constant_frames((11, 15), [0.0, 0.0], [2.0, 2.0], math.radians(45)))
    ahead = places[5][:, 5, 7] - torch.tensor([7.5, 5.5])  # the point to the right in the frame
    assert ahead.tolist() == pytest.approx([math.sqrt(2), math.sqrt(2)], abs=1e-4)  # right and down


def test_frames_stay_within_their_bounds() -> None:
    raw = 100 * torch.randn(4, 6, 5, 5)
    frames = decode_frames(raw, max_offset=3.0, max_scale=2.0)
    assert frames.offset.abs().max() <= 3
    assert frames.scale.max() <= 2.0001
    assert frames.scale.min() >= 0.4999
    assert frames.angle.abs().max() <= math.pi / 2 + 1e-6


def test_gradients_are_finite_where_a_direction_has_no_length() -> None:
    raw = torch.zeros(1, 6, 2, 2)
    raw[:, 4] = -1.0  # less (1, 0): the vector (0, 0)
    raw.requires_grad_()
    frame_offsets(decode_frames(raw, 4.0, 4.0)).square().sum().backward()
    assert torch.isfinite(raw.grad).all()
