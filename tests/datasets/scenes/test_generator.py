"""Scenes as a whole: seeds, meta values, the second sensor."""

import hashlib
import json
import math
from collections import Counter

import numpy as np
import pytest

from stn_det.datasets.scenes import CLASSES, KINDS, SceneConfig, generate_scene


def _hash(scene) -> str:
    digest = hashlib.sha256(scene.image.tobytes())
    digest.update(json.dumps(scene.meta).encode())
    if scene.second is not None:
        digest.update(scene.second.image.tobytes())
    return digest.hexdigest()


def _map(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Independent homogeneous mapping of (..., 2) points."""
    lifted = np.concatenate([points, np.ones((*points.shape[:-1], 1))], axis=-1) @ np.asarray(matrix).T
    return lifted[..., :2] / lifted[..., 2:]


@pytest.fixture(scope='module')
def scenes():
    config = SceneConfig(size=(256, 256), gsd=(0.3, 0.36))
    return [generate_scene(config, (11, index)) for index in range(40)]


def test_same_seed_same_bytes_and_other_seed_other_bytes():
    config = SceneConfig(size=(192, 160), second='infrared')
    first, again, other = (generate_scene(config, seed) for seed in (5, 5, 6))
    assert first.image.shape == (160, 192, 3)
    assert first.image.dtype == np.uint8
    assert _hash(first) == _hash(again)
    assert _hash(first) != _hash(other)


def test_the_second_sensor_does_not_change_the_first():
    plain = generate_scene(SceneConfig(size=(160, 160)), 9)
    with_second = generate_scene(SceneConfig(size=(160, 160), second='sar'), 9)
    np.testing.assert_array_equal(plain.image, with_second.image)


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_draws_under_a_strong_tilt(kind):
    scene = generate_scene(SceneConfig(size=(256, 256), kinds={kind: 1}, obliquity=60, density=2), 1)
    assert scene.meta['kind'] == kind
    assert scene.image.std() > 8


def test_all_classes_appear_over_forty_seeds(scenes):
    counts = Counter(item.label for scene in scenes for item in scene.objects)
    assert set(counts) == set(CLASSES)
    assert min(counts.values()) >= 5


def test_corners_are_finite_clockwise_parallelograms(scenes):
    for item in (item for scene in scenes for item in scene.objects):
        corners = item.corners
        assert corners.shape == (4, 2)
        assert np.isfinite(corners).all()
        front, side = corners[1] - corners[0], corners[2] - corners[1]
        assert front[0] * side[1] - front[1] * side[0] > 1.0
        np.testing.assert_allclose(corners[0] + corners[2], corners[1] + corners[3], atol=1e-6)


def test_the_first_edge_is_the_front(scenes):
    for item in (item for scene in scenes for item in scene.objects):
        ahead = (item.corners[0] + item.corners[1]) / 2 - item.corners.mean(axis=0)
        turn = math.atan2(ahead[1], ahead[0]) - item.heading
        assert math.cos(turn) == pytest.approx(1.0, abs=1e-9)
        assert -math.pi <= item.heading < math.pi


def test_meta_survives_json_and_its_matrix_maps_ground_to_labels(scenes):
    for scene in scenes[:10]:
        meta = json.loads(json.dumps(scene.meta))
        assert len(meta['objects']) == len(scene.objects)
        for facts, item in zip(meta['objects'], scene.objects, strict=True):
            mapped = _map(np.array(facts['ground']), meta['dst_from_ground'])
            np.testing.assert_allclose(mapped, item.corners, atol=1e-6)
            assert facts['label'] == item.label
        assert SceneConfig.from_dict(meta['config']) == SceneConfig(size=(256, 256), gsd=(0.3, 0.36))


def test_matrix_follows_from_gsd_yaw_and_tilt():
    config = SceneConfig(size=(200, 100), gsd=0.25, yaw=30, obliquity=60, tilt_azimuth=90)
    matrix = np.array(generate_scene(config, 0).meta['dst_from_ground'])
    np.testing.assert_allclose(_map(np.zeros(2), matrix), [100, 50])
    # 10 m along +x turn by 30 degrees clockwise, then shrink to half along the tilt direction, which is +x here.
    expected = np.array([0.5 * 40 * math.cos(math.pi / 6), 40 * math.sin(math.pi / 6)])
    np.testing.assert_allclose(_map(np.array([10.0, 0.0]), matrix) - [100, 50], expected, atol=1e-9)


@pytest.mark.parametrize('sensor', ['infrared', 'sar'])
def test_second_labels_follow_the_known_misalignment(sensor):
    config = SceneConfig(
        size=(256, 256), second=sensor, second_shift=(-20, 20), second_rotation=(-8, 8), second_perspective=0.05
    )
    for seed in range(3):
        scene = generate_scene(config, seed)
        matrix = scene.second.second_from_first
        np.testing.assert_allclose(matrix, scene.meta['second']['second_from_first'])
        assert not np.allclose(matrix, np.eye(3), atol=1e-3)
        assert (scene.second.image[..., 0] == scene.second.image[..., 2]).all()
        first = {item.ground.tobytes(): item for item in scene.objects}
        shared = [item for item in scene.second.objects if item.ground.tobytes() in first]
        for item in shared:
            mapped = _map(first[item.ground.tobytes()].corners, matrix)
            np.testing.assert_allclose(mapped, item.corners, atol=1e-6)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
    'settings', [{'size': (64, 200), 'gsd': 0.06}, {'size': (128, 64), 'gsd': 0.9, 'sun_elevation': 15}]
)
def test_every_kind_copes_with_very_little_and_very_much_ground(kind, settings):
    scene = generate_scene(SceneConfig(kinds={kind: 1}, noise=0, blur=0, density=0.5, **settings), 2)
    assert scene.image.shape[:2] == settings['size'][::-1]
    for item in scene.objects:
        assert 0.3 <= item.visible <= 1.0
