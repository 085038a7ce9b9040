"""Features of oriented regions: against loops over points, by level, with a gradient to the region, none at all."""

import math

import pytest
import torch
from mmdet.registry import MODELS
from torch import Tensor

from stn_det.errors import ConfigError, InputError
from stn_det.models import RotatedSingleRoIExtractor

STRIDES = [4, 8]


def build(finest_scale: float = 16, **layer) -> RotatedSingleRoIExtractor:
    """An extractor of 3 x 2 bins with 2 x 2 points each."""
    options = dict(type='RoIAlignRotated', out_size=(3, 2), sample_num=2, clockwise=True)
    return MODELS.build(
        dict(
            type='RotatedSingleRoIExtractor',
            roi_layer={**options, **layer},
            out_channels=2,
            featmap_strides=STRIDES,
            finest_scale=finest_scale,
        )
    )


def levels(batch: int = 2, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Random maps of an image of 64 x 64 pixels."""
    generator = torch.Generator().manual_seed(5)
    return [torch.randn((batch, 2, 64 // s, 64 // s), generator=generator, dtype=dtype) for s in STRIDES]


def bilinear(level: Tensor, x: float, y: float) -> Tensor:
    """Value (C,) of a map (C, H, W) at (x, y), whole numbers at pixel centres; the edge reaches out by one pixel."""
    height, width = level.shape[1:]
    if not (-1 <= x <= width and -1 <= y <= height):
        return level.new_zeros(level.shape[0])
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    left, top = min(int(x), width - 2), min(int(y), height - 2)
    right, low = x - left, y - top
    upper = level[:, top, left] * (1 - right) + level[:, top, left + 1] * right
    lower = level[:, top + 1, left] * (1 - right) + level[:, top + 1, left + 1] * right
    return upper * (1 - low) + lower * low


def by_loops(maps: list[Tensor], roi: Tensor, number: int) -> Tensor:
    """The bins (C, 3, 2) of one region on a level, point by point."""
    scale = 1 / STRIDES[number]
    cx, cy, w, h, theta = (roi[1:] * roi.new_tensor([scale] * 4 + [1])).tolist()
    result = torch.zeros(2, 3, 2, dtype=torch.float64)
    for row in range(3):
        for column in range(2):
            for i in range(2):
                for j in range(2):
                    along = w * ((column + (j + 0.5) / 2) / 2 - 0.5)
                    across = h * ((row + (i + 0.5) / 2) / 3 - 0.5)
                    x = cx + along * math.cos(theta) - across * math.sin(theta) - 0.5
                    y = cy + along * math.sin(theta) + across * math.cos(theta) - 0.5
                    result[:, row, column] += bilinear(maps[number][int(roi[0])], x, y) / 4
    return result


ROIS = torch.tensor(
    [
        [0.0, 30, 20, 20, 10, 0.5],  # sqrt(200) = 14: finest
        [1, 40, 33, 50, 30, -1.2],  # sqrt(1500) = 39 >= 32: next
        [1, 12, 50, 12, 5, 1.5],
        [0, 5, 60, 60, 40, 0.1],  # partly outside
    ],
    dtype=torch.float64,
)


def test_equal_to_loops_over_points_in_the_order_of_the_regions() -> None:
    maps = levels()
    expected = torch.stack([by_loops(maps, roi, number) for roi, number in zip(ROIS, [0, 1, 0, 1])])
    torch.testing.assert_close(build()(maps, ROIS), expected)


def test_levels_by_the_root_of_the_area() -> None:
    sides = torch.tensor(
        [[1.0, 1], [32, 31.9], [32, 32.1], [8, 200], [1000, 1000], [0, 0], [math.inf, 1], [math.nan, 1]]
    )
    rois = torch.cat([torch.zeros(8, 3), sides, torch.zeros(8, 1)], 1)
    assert build().map_roi_levels(rois, 3).tolist() == [0, 0, 1, 1, 2, 0, 2, 0]


def test_the_gradient_reaches_regions_and_maps() -> None:
    rois = ROIS.clone().requires_grad_()
    maps = [level.requires_grad_() for level in levels()]

    def extract(boxes: Tensor, *features: Tensor) -> Tensor:
        return build()(list(features), torch.cat([ROIS[:, :1], boxes], 1))

    assert torch.autograd.gradcheck(extract, (ROIS[:, 1:].clone().requires_grad_(), *maps))
    build()(maps, rois).square().sum().backward()
    assert rois.grad[:, 0].abs().sum() == 0
    assert (rois.grad[:, 1:].abs().sum(1) > 0).all()


def test_no_regions_give_an_empty_result_on_the_graph() -> None:
    maps = [level.requires_grad_() for level in levels()]
    found = build()(maps, torch.zeros(0, 6))
    assert found.shape == (0, 2, 3, 2)
    found.sum().backward()
    assert maps[0].grad.abs().sum() == 0


def test_sense_of_theta_names_and_scale() -> None:
    maps = levels()
    flipped = torch.cat([ROIS[:, :5], -ROIS[:, 5:]], 1)
    torch.testing.assert_close(build(clockwise=False)(maps, flipped), build()(maps, ROIS))
    other = dict(type='RoIAlignRotated', output_size=(3, 2), sampling_ratio=2)
    config = dict(type='RotatedSingleRoIExtractor', roi_layer=other, out_channels=2, featmap_strides=STRIDES)
    assert torch.equal(MODELS.build(dict(config, finest_scale=16))(maps, ROIS), build()(maps, ROIS))
    grown = torch.cat([ROIS[:, :3], ROIS[:, 3:5] * 1.1, ROIS[:, 5:]], 1)
    torch.testing.assert_close(build()(maps, ROIS, roi_scale_factor=1.1), build()(maps, grown))


def test_half_precision_maps_keep_regions_in_float32() -> None:
    maps = [level.bfloat16() for level in levels(dtype=torch.float32)]
    rois = torch.tensor([[0.0, 30.3, 20.7, 20.1, 10.9, 0.51]])
    found = build()(maps, rois)
    assert found.dtype == torch.bfloat16
    exact = build()([level.float() for level in maps], rois)
    torch.testing.assert_close(found.float(), exact, atol=0.02, rtol=0.01)


def test_regions_that_are_not_finite_or_far_away_give_zero() -> None:
    odd = torch.tensor([[0.0, math.nan, 3, 4, 5, 0], [0, 1e9, 1e9, 10, 10, 1], [1, 5, 5, math.inf, 3, 0]])
    assert build()(levels(dtype=torch.float32), odd).abs().sum() == 0


@pytest.mark.parametrize(
    'layer', [dict(type='RoIAlign'), dict(bins=7), dict(type='RoIAlignRotated', out_size=7, pool_mode='max')]
)
def test_other_layers_are_refused(layer: dict) -> None:
    with pytest.raises(ConfigError, match=r"roi_layer is .*expected dict\(type='RoIAlignRotated'"):
        build(**layer)


def test_horizontal_regions_and_missing_levels_are_refused() -> None:
    with pytest.raises(InputError, match=r'rois has shape \(1, 5\), expected \(R, 6\)'):
        build()(levels(), torch.zeros(1, 5))
    with pytest.raises(InputError, match='1 levels came; expected 2'):
        build()(levels()[:1], ROIS)
