"""Areas."""

import pytest
import torch
from shapely.geometry import Polygon

from stn_det.errors import InputError
from stn_det.geometry import qbox_area, rbox_area, rbox_to_qbox


def test_rbox_and_qbox_areas_agree(rboxes):
    assert torch.allclose(rbox_area(rboxes), qbox_area(rbox_to_qbox(rboxes)))


def test_qbox_area_is_the_polygon_area_in_both_orders():
    quads = torch.rand(200, 8, dtype=torch.float64) * 50
    polygons = [Polygon(quad.reshape(4, 2).tolist()) for quad in quads]
    simple = [i for i, polygon in enumerate(polygons) if polygon.is_valid]
    assert len(simple) > 50
    expected = torch.tensor([polygons[i].area for i in simple], dtype=torch.float64)
    assert torch.allclose(qbox_area(quads[simple]), expected)
    backwards = quads.unflatten(-1, (4, 2)).flip(-2).flatten(-2)
    assert torch.allclose(qbox_area(backwards[simple]), expected)


def test_small_box_far_away_keeps_its_area_in_float32():
    quad = torch.tensor([[20_000.0, 20_000, 20_004, 20_000, 20_004, 20_002, 20_000, 20_002]])
    assert qbox_area(quad).item() == 8.0


def test_errors():
    with pytest.raises(InputError, match=r'qboxes must have shape \(\.\.\., 8\), got \(3, 5\)'):
        qbox_area(torch.zeros(3, 5))
    with pytest.raises(InputError, match=r'rboxes must have shape \(\.\.\., 5\), got \(3, 8\)'):
        rbox_area(torch.zeros(3, 8))
