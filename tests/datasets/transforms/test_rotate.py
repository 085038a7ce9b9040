"""Free rotation."""

import numpy as np
import pytest
from mmcv.transforms.utils import cache_random_params

from stn_det.datasets.transforms import OrientedRandomRotate
from stn_det.datasets.transforms.rotate import grown_size, rotation_about_centre
from stn_det.errors import ConfigError, InputError


def rotate(results, degrees, **kwargs):
    return OrientedRandomRotate(prob=1.0, angle_range=(degrees, degrees), **kwargs)(results)


@pytest.mark.parametrize('box_type', ['rbox', 'qbox'])
@pytest.mark.parametrize('canvas', ['keep', 'grow'])
@pytest.mark.parametrize('degrees', [-170, -90, -33, 0.5, 45, 90, 123])
def test_image_and_boxes_agree(make_sample, rendered, box_type, canvas, degrees):
    results = rotate(make_sample(box_type), degrees, canvas=canvas)
    assert results['img_shape'] == results['img'].shape[:2]
    assert rendered.farthest_corner(results['gt_bboxes'], results['img']) < 0.5


def test_positive_is_clockwise_on_screen():
    top = rotation_about_centre(90, (120, 90), (120, 90)) @ np.array([60, 0, 1])
    assert top == pytest.approx([105, 45, 1])  # straight up goes to the right


def test_quarter_turn_on_a_grown_canvas_is_lossless(make_sample):
    results = rotate(make_sample(), 90, canvas='grow', interpolation='bilinear')
    assert grown_size(90, (120, 90)) == (90, 120)
    assert np.array_equal(results['img'], np.rot90(make_sample()['img'], -1))


def test_grown_canvas_holds_all_four_corners():
    for degrees in (1, 30, 45, 60, 89, 135, 200):
        width, height = grown_size(degrees, (120, 90))
        corners = np.array([[0, 120, 120, 0], [0, 0, 90, 90], [1, 1, 1, 1]])
        x, y, _ = rotation_about_centre(degrees, (120, 90), (width, height)) @ corners
        assert x.min() >= -1e-6
        assert y.min() >= -1e-6
        assert width - 1 <= x.max() - x.min() <= width + 1e-6
        assert height - 1 <= y.max() - y.min() <= height + 1e-6


def test_boxes_whose_centre_leaves_go_with_everything(make_sample):
    results = make_sample()
    results['gt_bboxes'].tensor[1, :2] = results['gt_bboxes'].tensor.new_tensor([118.0, 45.0])
    results = rotate(results, 90)
    assert results['gt_bboxes_labels'].tolist() == [0, 2]
    assert results['gt_ignore_flags'].tolist() == [False, True]
    assert results['gt_instances_ids'].tolist() == [10, 12]
    assert len(results['gt_bboxes']) == 2


def test_border_value_and_grey_images(make_sample):
    image = rotate(dict(img=np.full((40, 40, 3), 9, np.uint8)), 45, border_value=(1, 2, 3))['img']
    assert image[0, 0].tolist() == [1, 2, 3]
    assert image[20, 20].tolist() == [9, 9, 9]
    assert rotate(dict(img=np.full((40, 40), 9, np.uint8)), 45, border_value=7)['img'][0, 0] == 7
    assert rotate(dict(img=np.full((40, 40, 1), 9, np.uint8)), 45)['img'].shape == (40, 40, 1)


def test_restricted_labels_turn_by_quarters_only(make_sample):
    transform = OrientedRandomRotate(prob=1.0, angle_range=(10, 80), rect_obj_labels=(2,))
    angles = []
    for _ in range(20):
        matrix = transform(make_sample())['homography_matrix']
        angles.append(round(float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))), 3) % 360)
    assert set(angles) == {90, 180, 270}
    other = OrientedRandomRotate(prob=1.0, angle_range=(10, 80), rect_obj_labels=(5,))
    matrix = other(make_sample())['homography_matrix']
    assert 10 <= np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])) <= 80


def test_probability_range_and_shared_randomness(make_sample):
    assert np.array_equal(OrientedRandomRotate(prob=0.0)(make_sample())['img'], make_sample()['img'])
    transform = OrientedRandomRotate(prob=1.0, angle_range=30)
    assert all(-30 <= transform._draw_angles()[0] <= 30 for _ in range(50))
    with cache_random_params(transform):
        images = [transform(make_sample())['img'] for _ in range(3)]
    assert all(np.array_equal(image, images[0]) for image in images)
    assert not np.array_equal(transform(make_sample())['img'], images[0])


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        (dict(angle_range=(20, 10)), r'angle_range is \(20, 10\), expected degrees'),
        (dict(angle_range=500), 'angle_range is 500'),
        (dict(canvas='crop'), "canvas is 'crop'"),
        (dict(interpolation='area'), "interpolation is 'area'"),
        (dict(prob=-1), 'prob is -1'),
    ],
)
def test_bad_options(options, match):
    with pytest.raises(ConfigError, match=match):
        OrientedRandomRotate(**options)


def test_axis_aligned_boxes_are_refused(make_sample):
    with pytest.raises(
        InputError, match=r"gt_bboxes is of type 'hbox', expected one of \('rbox', 'qbox'\).*ConvertBoxType"
    ):
        rotate(make_sample('hbox'), 10)
