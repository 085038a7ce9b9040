"""Labels against what is drawn: tight boxes, visibility, misalignment."""

import math

import numpy as np
import pytest

from stn_det.datasets.scenes import CLASSES, SceneConfig
from stn_det.datasets.scenes.labels import label_objects, visible_shares
from stn_det.datasets.scenes.layouts.industry import tank_heading
from stn_det.datasets.scenes.raster import Raster
from stn_det.datasets.scenes.sprites.courts import SURFACES, court
from stn_det.datasets.scenes.sprites.planes import plane
from stn_det.datasets.scenes.sprites.ships import ship
from stn_det.datasets.scenes.sprites.tanks import tank
from stn_det.datasets.scenes.sprites.vehicles import car, truck
from stn_det.datasets.scenes.view import make_misalignment, make_second_view, make_view, project
from stn_det.datasets.scenes.world import World

BUILDERS = {
    'plane': (plane, (1.0,)),
    'ship': (ship, (1.0,)),
    'small-vehicle': (car, (1.0,)),
    'large-vehicle': (truck, (1.0,)),
    'storage-tank': (tank, (1.0, 9.0)),
    'tennis-court': (court, (1.0, SURFACES[0])),
}


class White:
    """A sensor to which everything is white."""

    sensor = 'colour'

    def colour(self, rgb, material):
        return 255, 255, 255


def _world(size=(640, 640), seed=0, **settings) -> World:
    config = SceneConfig(size=size, **settings)
    rng = np.random.default_rng(seed)
    return World(rng, make_view(config, rng), config)


def _mask(world: World, view=None) -> np.ndarray:
    return Raster(world, view or world.view, White(), plain=True).draw()[..., 0]


def test_every_class_has_a_builder_here():
    assert set(BUILDERS) == set(CLASSES)


@pytest.mark.parametrize('label', CLASSES)
@pytest.mark.parametrize(('yaw', 'obliquity', 'tilt'), [(0, 0, 0), (37, 0, 0), (-100, 35, 50), (160, 60, 200)])
def test_the_box_is_tight_on_what_is_drawn(label, yaw, obliquity, tilt):
    make, args = BUILDERS[label]
    for seed in range(4):
        world = _world(seed=seed, gsd=0.2, yaw=yaw, obliquity=obliquity, tilt_azimuth=tilt)
        placed = world.put(make, 1.3, -2.1, 0.7 + seed, *args)
        corners = label_objects([placed], world.view, np.zeros((640, 640), bool))
        if not corners or corners[0].visible < 1.0:
            continue
        corners = corners[0].corners
        rows, columns = np.nonzero(_mask(world) >= 100)
        points = np.stack([columns + 0.5, rows + 0.5], axis=1) - corners[0]
        # Coordinates along the front and the side of the parallelogram, from 0 to 1, scaled to pixels across it.
        front, side = corners[1] - corners[0], corners[3] - corners[0]
        shares = points @ np.linalg.inv(np.stack([front, side]))
        area = abs(front[0] * side[1] - front[1] * side[0])
        for axis, other in ((0, side), (1, front)):
            across = area / np.hypot(*other)
            low, high = shares[:, axis].min() * across, shares[:, axis].max() * across
            assert -0.6 <= low <= 1.3, f'{label} seed {seed}: drawing starts {low:.2f} px inside its box'
            assert -0.6 <= across - high <= 1.3, (
                f'{label} seed {seed}: drawing ends {across - high:.2f} px inside its box'
            )


@pytest.mark.parametrize('sensor_perspective', [0.0, 0.08])
def test_an_object_is_drawn_where_the_misalignment_says(sensor_perspective):
    for seed in range(3):
        world = _world(
            size=(256, 256), seed=seed, gsd=0.2, second_perspective=sensor_perspective, second_shift=(-15, 15)
        )
        world.put(tank, 2.0, -3.0, 0.0, 1.0, 3.0)
        matrix = make_misalignment(world.config, world.rng)
        first, second = _mask(world), _mask(world, make_second_view(world.view, matrix))
        centres = [np.array(np.nonzero(mask > 127)[::-1]).mean(axis=1) + 0.5 for mask in (first, second)]
        np.testing.assert_allclose(project(centres[0], matrix), centres[1], atol=0.5)


@pytest.mark.parametrize(
    ('inside', 'expected'), [(0.95, (1, 0)), (0.65, (1, 0)), (0.55, (1, 1)), (0.35, (1, 1)), (0.25, (0, 0))]
)
def test_an_object_at_the_edge_is_kept_by_its_visible_share(inside, expected):
    world = _world(size=(128, 128), gsd=0.2, yaw=0, obliquity=0)
    length = court(world.rng, world.light(0.0), 1.0, SURFACES[0]).length
    edge = 64 * 0.2
    placed = world.put(court, edge + length * (0.5 - inside), 0.0, 0.0, 1.0, SURFACES[0])
    objects = label_objects([placed], world.view, np.zeros((128, 128), bool))
    assert len(objects) == expected[0]
    assert [item.difficult for item in objects] == [expected[1]] * expected[0]


def test_a_tree_over_a_car_makes_it_difficult_or_hides_it():
    world = _world(size=(128, 128), gsd=0.2, yaw=0, obliquity=0)
    placed = world.put(car, 0.0, 0.0, 0.0, 1.0)
    clear = Raster(world, world.view, White()).covered()
    assert label_objects([placed], world.view, clear)[0].difficult == 0
    world.tree(-1.3, 0.0, 1.9)
    half = Raster(world, world.view, White()).covered()
    assert label_objects([placed], world.view, half)[0].difficult == 1
    world.tree(0.0, 0.0, 5.0)
    assert label_objects([placed], world.view, Raster(world, world.view, White()).covered()) == []


def test_visible_share_of_a_rectangle_is_its_share_of_area():
    corners = np.array([[-30.0, 10.0], [70.0, 10.0], [70.0, 40.0], [-30.0, 40.0]])
    corners = np.stack([corners, corners - 1000.0])
    np.testing.assert_allclose(visible_shares(corners, np.zeros((100, 100), bool)), [0.7, 0.0], atol=0.05)
    covered = np.zeros((100, 100), bool)
    covered[:, 40:] = True
    np.testing.assert_allclose(visible_shares(corners, covered), [0.4, 0.0], atol=0.05)


@pytest.mark.parametrize('heading', [0.0, 1.0, -2.5])
def test_front_left_is_the_first_corner(heading):
    world = _world(gsd=0.2, yaw=0, obliquity=0)
    placed = world.put(car, 0.0, 0.0, heading, 1.0)
    item = label_objects([placed], world.view, np.zeros((640, 640), bool))[0]
    centre = item.corners.mean(axis=0)
    ahead = np.array([math.cos(heading), math.sin(heading)])
    right = np.array([-ahead[1], ahead[0]])
    assert (item.corners[0] - centre) @ ahead > 0
    assert (item.corners[0] - centre) @ right < 0
    assert item.heading == pytest.approx(heading)


def _tank_edges(obliquity):
    """Directions of the front and of the side of a tank's box in the image, in degrees in [-45, 45)."""
    world = _world(gsd=0.2, yaw=50.0, obliquity=obliquity, tilt_azimuth=30.0)
    placed = world.put(tank, 0.0, 0.0, tank_heading(world), 1.0, 9.0)
    corners = label_objects([placed], world.view, np.zeros((640, 640), bool))[0].corners
    edges = np.diff(corners[[3, 0, 1]], axis=0)
    return (np.degrees(np.arctan2(edges[:, 1], edges[:, 0])) + 45.0) % 90.0 - 45.0


@pytest.mark.parametrize(('obliquity', 'lean'), [(0.0, 1e-6), (25.0, 3.0), (39.0, 7.0)])
def test_a_tank_has_an_upright_box_while_its_ellipse_is_hardly_one(obliquity, lean):
    assert np.abs(_tank_edges(obliquity)).max() <= lean


def test_a_clear_ellipse_has_a_rectangle_along_its_axes():
    np.testing.assert_allclose(_tank_edges(50.0), [30.0, 30.0], atol=1e-6)
