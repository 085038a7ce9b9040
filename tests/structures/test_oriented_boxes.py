"""What RotatedBoxes and QuadriBoxes share: the in-place operations and the image tests."""

import math

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes

from stn_det.errors import InputError
from stn_det.geometry import rotation_matrix, transform_qboxes
from stn_det.structures import QuadriBoxes, RotatedBoxes

SHAPE = (200, 300)
HOMOGRAPHY = np.array([[1.1, 0.05, 3.0], [-0.04, 0.95, 2.0], [1e-5, -2e-5, 1.0]])
KINDS = pytest.mark.parametrize('kind', [RotatedBoxes, QuadriBoxes])
OPERATIONS = {
    'flip': (lambda boxes: boxes.flip_(SHAPE, 'horizontal'), [[-1, 0, 300], [0, 1, 0], [0, 0, 1]]),
    'flip vertical': (lambda boxes: boxes.flip_(SHAPE, 'vertical'), [[1, 0, 0], [0, -1, 200], [0, 0, 1]]),
    'flip diagonal': (lambda boxes: boxes.flip_(SHAPE, 'diagonal'), [[-1, 0, 300], [0, -1, 200], [0, 0, 1]]),
    'translate': (lambda boxes: boxes.translate_((5, -7)), [[1, 0, 5], [0, 1, -7], [0, 0, 1]]),
    'rotate': (lambda boxes: boxes.rotate_((150.0, 100.0), 30), rotation_matrix(math.pi / 6, (150, 100)).tolist()),
    'rescale': (lambda boxes: boxes.rescale_((1.5, 1.5)), [[1.5, 0, 0], [0, 1.5, 0], [0, 0, 1]]),
}


def make(kind, rboxes):
    return RotatedBoxes(rboxes).convert_to(kind)


@KINDS
@pytest.mark.parametrize('name', OPERATIONS)
def test_operations_move_the_corners(kind, name, rboxes, quad_distance):
    operate, matrix = OPERATIONS[name]
    boxes = make(kind, rboxes)
    corners = boxes.corners.flatten(-2)
    assert operate(boxes) is None
    expected = transform_qboxes(corners, torch.tensor(matrix))
    assert quad_distance(boxes.corners.flatten(-2), expected).max() < 2e-3
    assert boxes.dtype == torch.float32


@KINDS
@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
def test_two_flips_change_nothing(kind, direction, rboxes, quad_distance):
    boxes = make(kind, rboxes)
    before = boxes.corners.flatten(-2)
    boxes.flip_(SHAPE, direction)
    assert quad_distance(boxes.corners.flatten(-2), before).max() > 1
    boxes.flip_(SHAPE, direction)
    assert quad_distance(boxes.corners.flatten(-2), before).max() < 1e-3


@KINDS
@pytest.mark.parametrize('name', [name for name in OPERATIONS if name != 'rotate'])
def test_flat_boxes_behave_like_the_horizontal_boxes_of_mmdet(kind, name):
    horizontal = HorizontalBoxes([[30.0, 40.0, 90.0, 60.0], [100.0, 20.0, 110.0, 80.0]])
    boxes = horizontal.convert_to(kind)
    for target in (horizontal, boxes):
        OPERATIONS[name][0](target)
    assert torch.allclose(boxes.convert_to('hbox').tensor, horizontal.tensor, atol=1e-3)


@KINDS
def test_rotate_has_the_sign_of_mmdet(kind):
    horizontal = HorizontalBoxes([[30.0, 40.0, 90.0, 60.0]])
    boxes = horizontal.convert_to(kind)
    for target in (horizontal, boxes):
        target.rotate_((10.0, 20.0), 90)
    assert torch.allclose(boxes.convert_to('hbox').tensor, horizontal.tensor, atol=1e-3)
    assert torch.allclose(boxes.centers, torch.tensor([[-20.0, 70.0]]), atol=1e-3)


@KINDS
@pytest.mark.parametrize('angle', [25, -70])
def test_rotate_agrees_with_an_image_that_mmcv_rotates(kind, angle, quad_distance):
    """Dots drawn on the corners of a box are found on the corners of the rotated box."""
    import mmcv

    boxes = RotatedBoxes([[60.0, 50.0, 40.0, 20.0, 0.3]]).convert_to(kind)
    y, x = np.mgrid[0:100, 0:120] + 0.5
    found = []
    for corner in boxes.corners[0].numpy():
        dot = np.exp(-((x - corner[0]) ** 2 + (y - corner[1]) ** 2) / 8).astype(np.float32)
        dot = mmcv.imrotate(dot, angle)  # positive is clockwise, about the middle of the image
        found.append([(dot * x).sum() / dot.sum(), (dot * y).sum() / dot.sum()])
    boxes.rotate_((60, 50), angle)
    assert quad_distance(boxes.corners.flatten(-2), torch.tensor(found, dtype=torch.float32).reshape(1, 8)) < 0.05


@KINDS
def test_project_takes_arrays_and_tensors(kind, rboxes):
    small = rboxes * torch.tensor([1, 1, 0.01, 0.01, 1])
    as_array, as_tensor = make(kind, small), make(kind, small)
    corners = as_array.corners.numpy().reshape(1, -1, 2).astype(np.float64)
    as_array.project_(HOMOGRAPHY)
    as_tensor.project_(torch.from_numpy(HOMOGRAPHY).float())
    assert torch.allclose(as_array.tensor, as_tensor.tensor, atol=1e-2)
    expected = cv2.perspectiveTransform(corners, HOMOGRAPHY).reshape(-1, 4, 2)
    np.testing.assert_allclose(as_array.corners.mean(-2).numpy(), expected.mean(1), atol=1e-2)


@KINDS
@pytest.mark.parametrize('factors', [(2.0, 0.5), (1.001, 1.0), (3.0, 3.0)])
def test_rescale_multiplies_areas_by_the_product(kind, factors, rboxes):
    boxes = make(kind, rboxes)
    areas, centers = boxes.areas, boxes.centers
    boxes.rescale_(factors)
    assert torch.allclose(boxes.areas, areas * factors[0] * factors[1], rtol=1e-3)
    assert torch.allclose(boxes.centers, centers * torch.tensor(factors), atol=1e-3)


@KINDS
def test_resize_keeps_centres_and_scales_the_sides(kind):
    boxes = RotatedBoxes([[50.0, 40.0, 30.0, 10.0, 0.5], [50.0, 40.0, 30.0, 10.0, -1.2]]).convert_to(kind)
    centers = boxes.centers
    boxes.resize_((2.0, 0.5))
    assert torch.allclose(boxes.centers, centers, atol=1e-4)
    assert torch.allclose(boxes.widths, torch.full((2,), 60.0), rtol=1e-4)
    assert torch.allclose(boxes.heights, torch.full((2,), 5.0), rtol=1e-4)
    assert torch.allclose(boxes.convert_to('rbox').tensor[:, 4], torch.tensor([0.5, -1.2]), atol=1e-4)


@KINDS
def test_sizes_areas_and_centers_of_rectangles(kind):
    boxes = RotatedBoxes([[50.0, 40.0, 30.0, 10.0, 0.5]]).convert_to(kind)
    assert torch.allclose(boxes.centers, torch.tensor([[50.0, 40.0]]))
    assert torch.allclose(boxes.widths, torch.tensor([30.0]))
    assert torch.allclose(boxes.heights, torch.tensor([10.0]))
    assert torch.allclose(boxes.areas, torch.tensor([300.0]))


@KINDS
def test_clip_does_nothing(kind):
    boxes = RotatedBoxes([[0.0, 0.0, 30.0, 10.0, 0.5]]).convert_to(kind)
    before = boxes.tensor.clone()
    boxes.clip_((20, 20))
    assert torch.equal(boxes.tensor, before)


@KINDS
def test_is_inside(kind):
    # inside, across the border with its centre inside, centre on the far border, centre outside, wholly outside
    rows = [[50, 40], [5, 40], [100, 40], [-2, 40], [500, 40]]
    boxes = RotatedBoxes([[x, y, 20.0, 10.0, 0.0] for x, y in rows]).convert_to(kind)
    assert boxes.is_inside((80, 100)).tolist() == [True, True, False, False, False]
    assert boxes.is_inside((80, 100), allowed_border=3).tolist() == [True, True, True, True, False]
    assert boxes.is_inside((80, 100), all_inside=True).tolist() == [True, False, False, False, False]
    assert boxes.is_inside((80, 100), all_inside=True, allowed_border=6).tolist() == [True, True, False, False, False]
    assert boxes.view(1, 5, boxes.box_dim).is_inside((80, 100)).shape == (1, 5)


@KINDS
def test_find_inside_points(kind):
    boxes = RotatedBoxes([[10.0, 10.0, 8.0, 4.0, 0.0], [10.0, 10.0, 8.0, 4.0, math.pi / 2]]).convert_to(kind)
    points = torch.tensor([[13.0, 10.0], [10.0, 13.0], [10.0, 10.0]])
    assert boxes.find_inside_points(points).tolist() == [[True, False], [False, True], [True, True]]
    assert boxes.find_inside_points(points[:2], is_aligned=True).tolist() == [True, True]
    assert boxes.find_inside_points(points[[1, 0]], is_aligned=True).tolist() == [False, False]
    assert boxes[:0].find_inside_points(points).shape == (3, 0)


@KINDS
def test_empty_boxes_take_every_operation(kind):
    boxes = kind([])
    for operate, _ in OPERATIONS.values():
        operate(boxes)
    boxes.project_(HOMOGRAPHY)
    boxes.resize_((2, 2))
    assert boxes.shape == (0, kind.box_dim)
    assert boxes.is_inside(SHAPE).shape == boxes.areas.shape == boxes.widths.shape == (0,)
    assert boxes.centers.shape == (0, 2)
    assert boxes.create_masks(SHAPE).masks.shape == (0, *SHAPE)


@KINDS
def test_leading_dimensions(kind):
    lead = (2, 3)
    boxes = kind(torch.rand(*lead, kind.box_dim) * 50)
    for operate, _ in OPERATIONS.values():
        operate(boxes)
    boxes.resize_((1.5, 2))
    assert boxes.shape == (*lead, kind.box_dim)
    assert boxes.areas.shape == boxes.widths.shape == boxes.heights.shape == lead
    assert boxes.corners.shape == (*lead, 4, 2)


@KINDS
def test_operations_leave_the_source_tensor_alone(kind, rboxes):
    data = make(kind, rboxes).tensor
    before = data.clone()
    boxes = kind(data, clone=False)
    for operate, _ in OPERATIONS.values():
        operate(boxes)
    assert torch.equal(data, before)


@KINDS
def test_errors(kind):
    boxes = kind(torch.rand(2, kind.box_dim))
    with pytest.raises(InputError, match=r"direction must be 'horizontal', 'vertical' or 'diagonal', got 'up'"):
        boxes.flip_(SHAPE, 'up')
    with pytest.raises(InputError, match=r'distances must be two numbers \(x, y\), got 3'):
        boxes.translate_((1, 2, 3))
    with pytest.raises(InputError, match=r'scale_factor must be two numbers \(x, y\), got 4'):
        boxes.rescale_((1, 2, 3, 4))
    with pytest.raises(InputError, match=r'scale_factor must be two numbers \(x, y\), got 1'):
        boxes.resize_((1,))
    with pytest.raises(InputError, match=r'dst_from_src must be .* got \(2, 3\)'):
        boxes.project_(np.zeros((2, 3)))
    with pytest.raises(InputError, match=r'aligned points must be as many as the boxes \(2\), got 3'):
        boxes.find_inside_points(torch.zeros(3, 2), is_aligned=True)
    with pytest.raises(InputError, match=r'find_inside_points needs boxes \(N, \d\), got \(1, 2, \d\); flatten them'):
        boxes[None].find_inside_points(torch.zeros(3, 2))
