"""Families of distortions as matrices."""

import math

import pytest
import torch

from stn_det.datasets.distortions import DISTORTIONS, drawn_direction
from stn_det.errors import InputError
from stn_det.geometry import transform_points

SIZE = (200, 120)
CENTRE = torch.tensor([100.0, 60.0], dtype=torch.float64)
STRONG = {'rotation': 35, 'scale': 0.6, 'shear': 0.4, 'obliquity': 60, 'perspective': 60, 'shift': 8}
FAMILIES = sorted(DISTORTIONS)


def matrix(family: str, level: float, degrees: float = 0.0) -> torch.Tensor:
    return DISTORTIONS[family].matrix(level, SIZE, math.radians(degrees))


@pytest.mark.parametrize('family', FAMILIES)
def test_the_identity_is_exact(family: str) -> None:
    assert torch.equal(matrix(family, DISTORTIONS[family].identity, 33), torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize('family', [family for family in FAMILIES if family != 'shift'])
def test_the_centre_stays(family: str) -> None:
    assert torch.allclose(transform_points(CENTRE, matrix(family, STRONG[family], 33)), CENTRE)


@pytest.mark.parametrize(
    ('family', 'factor'), [('rotation', 1), ('scale', 0.36), ('shear', 1), ('obliquity', 0.5), ('shift', 1)]
)
@pytest.mark.parametrize('degrees', [0, 33, 200])
def test_areas_change_as_they_should(family: str, factor: float, degrees: float) -> None:
    linear = matrix(family, STRONG[family], degrees)
    assert torch.linalg.det(linear[:2, :2]).item() == pytest.approx(factor)
    assert linear[2].tolist() == [0, 0, 1]


def moved(family: str, level: float, dx: float, dy: float, degrees: float = 0.0) -> list[float]:
    """Where a point beside the centre lands, from the centre."""
    point = CENTRE + torch.tensor([dx, dy], dtype=torch.float64)
    return (transform_points(point, matrix(family, level, degrees)) - CENTRE).tolist()


def test_known_points() -> None:
    assert moved('rotation', 90, 10, 0) == pytest.approx([0, 10])  # clockwise on screen
    assert moved('scale', 2, 10, 5) == pytest.approx([20, 10])
    assert moved('shear', 0.5, 3, 10) == pytest.approx([8, 10])
    assert moved('shift', 8, 3, 10, degrees=90) == pytest.approx([3, 18])


def test_obliquity_shortens_its_direction_alone() -> None:
    assert moved('obliquity', 60, 10, 7) == pytest.approx([5, 7])
    assert moved('obliquity', 60, 7, 10, degrees=90) == pytest.approx([7, 5])


def test_a_near_camera_shows_the_far_side_smaller() -> None:
    far, near = moved('perspective', 60, 80, 10), moved('perspective', 60, -80, 10)
    depth = 1 + 80 * math.sin(math.radians(60)) / (1.5 * 200)
    assert far == pytest.approx([40 / depth, 10 / depth])
    assert far[1] < 10 < near[1]
    tiny = moved('perspective', 60, 0.01, 0.01)
    assert tiny == pytest.approx([0.005, 0.01], rel=1e-4)  # in the middle it is an obliquity


def test_no_horizon_inside_of_the_frame() -> None:
    corners = torch.tensor([[0.0, 0], [200, 0], [200, 120], [0, 120]], dtype=torch.float64)
    for degrees in range(0, 360, 15):
        strongest = DISTORTIONS['perspective'].matrix(80, SIZE, math.radians(degrees))
        assert (corners @ strongest[2, :2] + strongest[2, 2]).min() > 0.3


def test_levels_are_sorted_and_hold_the_identity() -> None:
    assert DISTORTIONS['scale'].check_levels((2, 0.5, 2)) == (0.5, 1.0, 2.0)
    for family in DISTORTIONS.values():
        assert family.check_levels(family.levels) == tuple(sorted(family.levels))


@pytest.mark.parametrize(('family', 'level'), [('scale', 0), ('obliquity', 90), ('shift', -1), ('shear', math.nan)])
def test_levels_out_of_range(family: str, level: float) -> None:
    with pytest.raises(InputError, match=f'level {level:g} of {family} is out of range'):
        DISTORTIONS[family].check_levels((level,))


def test_directions_belong_to_seed_and_image() -> None:
    drawn = [drawn_direction(0, f'P{number:05d}.png') for number in range(400)]
    assert drawn[7] == drawn_direction(0, 'P00007.png') != drawn_direction(1, 'P00007.png')
    assert all(0 <= angle < 2 * math.pi for angle in drawn)
    quarters = [sum(int(angle // (math.pi / 2)) == quarter for angle in drawn) for quarter in range(4)]
    assert min(quarters) > 60
