"""Counts of work and parts of roofs, against loops and figures made by hand."""

import math

import pytest
import torch
from ops.on_cuda.counts import (
    Corners,
    Work,
    attention_corners,
    bytes_of,
    count_corners,
    product_operations,
    sampling_work,
)
from ops.on_cuda.roofs import Device, Roofs, fractions, roofs_of

H100 = Device('NVIDIA H100 80GB HBM3', (9, 0), 132, 1_980_000, 2_619_000, 5120, 50 << 20)


def corners_by_loops(x: torch.Tensor, y: torch.Tensor, height: int, width: int) -> Corners:
    """The definition: corners inside, and the set of them."""
    count, pixels = 0, set()
    for image in range(x.shape[0]):
        for px, py in zip(x[image].tolist(), y[image].tolist()):
            for row in (math.floor(py), math.floor(py) + 1):
                for column in (math.floor(px), math.floor(px) + 1):
                    if 0 <= row < height and 0 <= column < width:
                        count += 1
                        pixels.add((image, row, column))
    return Corners(count, len(pixels))


def test_corners_are_those_that_loops_find() -> None:
    x, y = torch.rand(2, 40) * 9 - 2, torch.rand(2, 40) * 7 - 2
    assert count_corners(x, y, 3, 5) == corners_by_loops(x, y, 3, 5)


@pytest.mark.parametrize(
    ('x', 'y', 'count'),
    [(0.5, 0.5, 4), (-0.5, 0.5, 2), (-0.5, -0.5, 1), (4.0, 2.0, 1), (-1.5, 0.5, 0), (math.nan, 0.5, 0)],
)
def test_corners_outside_do_not_count(x: float, y: float, count: int) -> None:
    assert count_corners(torch.tensor([[x]]), torch.tensor([[y]]), 3, 5) == Corners(count, count)


def test_a_pixel_that_many_points_share_is_one_pixel() -> None:
    assert count_corners(torch.full((1, 7), 1.5), torch.full((1, 7), 0.5), 3, 5) == Corners(28, 4)


def test_corners_of_attention_are_of_each_level_image_and_head() -> None:
    sizes = ((3, 5), (2, 2))
    locations = torch.rand(2, 6, 3, 2, 4, 2) * 1.4 - 0.2  # N Q G L K 2
    expected = Corners(0, 0)
    for level, (height, width) in enumerate(sizes):
        for image in range(2):
            for head in range(3):
                points = locations[image, :, head, level].reshape(1, -1, 2)
                expected += corners_by_loops(points[..., 0] * width - 0.5, points[..., 1] * height - 0.5, height, width)
    assert attention_corners(locations, sizes) == expected


def test_work_of_one_sample_by_hand() -> None:
    # Four corners of 64 numbers of 2 bytes: 512 bytes, one load of a warp, eight multiply-adds of a warp.
    work = sampling_work(Corners(4, 4), channels=64, size=2, others=12, output=128, grads=140)
    assert work['forward'] == Work(512 + 12 + 128, 512, 1 + 8, 2 * 256, 0)
    assert work['backward'] == Work(512 + 12 + 128 + 140, 512, 1 + 16, 4 * 256, 4 * 256)
    assert work['both'] == work['forward'] + work['backward']


def test_encoder_of_r50_gathers_what_its_corners_weigh() -> None:
    corners = 2 * 22223 * 8 * 16 * 4
    work = sampling_work(Corners(corners, 2 * 22223 * 8), channels=32, size=4, others=0, output=0, grads=0)
    assert work['forward'].gathered == pytest.approx(2.91e9, rel=2e-3)
    assert work['backward'].reduced == work['forward'].gathered
    assert work['forward'].bytes == 2 * 22223 * 256 * 4


def test_what_is_not_counted_stays_so_in_sums() -> None:
    assert Work(1, 2, None, 4, 5) + Work(10, None, 30, 40, 50) == Work(11, None, None, 44, 55)


def test_bytes_and_products() -> None:
    assert bytes_of(torch.zeros(3, 5), torch.zeros(2, dtype=torch.bfloat16)) == 64
    assert product_operations(2, (4, 5), (6, 3, 3, 3)) == 2 * 2 * 4 * 5 * 6 * 27


def test_roofs_of_an_h100() -> None:
    roofs = roofs_of(H100)
    assert roofs.memory == pytest.approx(3.352e12, rel=1e-3)  # NVIDIA's data sheet: 3.35 TB/s
    assert roofs.l1 == pytest.approx(132 * 128 * 1.98e9)
    assert roofs.issue == pytest.approx(132 * 4 * 1.98e9)


@pytest.mark.parametrize(
    'device',
    [
        None,
        Device('silent', (9, 0), 132, 0, 0, 5120, 0),
        Device('old', (6, 1), 20, 1_700_000, 0, 256, 0),
    ],
)
def test_roofs_that_nobody_knows_are_none(device: Device | None) -> None:
    assert roofs_of(device) == Roofs(None, None, None)


def test_parts_of_roofs() -> None:
    roofs = Roofs(memory=1e12, l1=1e13, issue=1e11)
    parts = fractions(Work(10**8, 10**9, 10**6), warm_us=200.0, cold_us=400.0, roofs=roofs, copy=8e11)
    assert parts == pytest.approx({'of_memory': 0.25, 'of_copy': 0.3125, 'of_l1': 0.5, 'of_issue': 0.05})


def test_parts_of_what_is_not_known_are_none() -> None:
    parts = fractions(Work(10**8), warm_us=200.0, cold_us=None, roofs=Roofs(1e12, 1e13, None), copy=None)
    assert parts == {'of_memory': None, 'of_copy': None, 'of_l1': None, 'of_issue': None}
