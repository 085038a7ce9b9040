"""mmdet's own transforms and helpers accept the box types as they are."""

import numpy as np
import pytest
import torch
from mmdet.datasets.transforms import Pad, RandomAffine, RandomCrop, RandomFlip, Resize
from mmdet.structures.bbox import (
    bbox2roi,
    cat_boxes,
    empty_box_as,
    get_box_tensor,
    get_box_wh,
    scale_boxes,
    stack_boxes,
)

from stn_det.geometry import rotation_matrix, scaling
from stn_det.structures import QuadriBoxes, RotatedBoxes

KINDS = pytest.mark.parametrize('kind', [RotatedBoxes, QuadriBoxes])


@pytest.fixture
def results(rboxes):
    """An image of 200 x 300 with one bright rotated rectangle, and its box."""
    box = RotatedBoxes([[150.0, 90.0, 100.0, 40.0, 0.5]])
    image = np.repeat(box.create_masks((200, 300)).masks[0][..., None] * np.uint8(255), 3, axis=-1)
    return dict(
        img=image,
        img_shape=image.shape[:2],
        gt_bboxes=box,
        gt_bboxes_labels=np.zeros(1, np.int64),
        gt_ignore_flags=np.zeros(1, bool),
    )


def overlap_with_picture(results) -> float:
    """IoU of the box and the bright pixels of the image."""
    height, width = results['img_shape']
    box = results['gt_bboxes'].create_masks((height, width)).masks[0].astype(bool)
    bright = results['img'][..., 0] > 127
    return (box & bright).sum() / (box | bright).sum()


@KINDS
@pytest.mark.parametrize(
    'transform',
    [
        Resize(scale=(450, 300), keep_ratio=True),
        Resize(scale=(331, 217), keep_ratio=True),
        Resize(scale=(330, 200), keep_ratio=False),
        RandomFlip(prob=1.0, direction='horizontal'),
        RandomFlip(prob=1.0, direction='vertical'),
        RandomFlip(prob=1.0, direction='diagonal'),
        Pad(size=(320, 320)),
    ],
)
def test_box_stays_on_the_picture(kind, transform, results):
    results['gt_bboxes'] = results['gt_bboxes'].convert_to(kind)
    transformed = transform(results)
    assert type(transformed['gt_bboxes']) is kind
    assert overlap_with_picture(transformed) > 0.93


@KINDS
def test_random_affine_moves_box_and_picture_together(kind, results):
    results['gt_bboxes'] = results['gt_bboxes'].convert_to(kind)
    transform = RandomAffine()
    matrix = rotation_matrix(0.3, center=(150, 100)) @ scaling(1.1, 1.1)
    transform._get_random_homography_matrix = lambda height, width: matrix.numpy()
    transformed = transform(results)
    assert len(transformed['gt_bboxes']) == 1
    # RandomAffine gives OpenCV a matrix in continuous pixels: the picture is up to a pixel off
    assert overlap_with_picture(transformed) > 0.85


@KINDS
def test_random_crop_keeps_boxes_by_their_centres(kind, results):
    results['gt_bboxes'] = RotatedBoxes([[150.0, 90.0, 20, 10, 0.5], [10.0, 10.0, 20, 10, 0.5]]).convert_to(kind)
    results['gt_bboxes_labels'] = np.arange(2)
    results['gt_ignore_flags'] = np.zeros(2, bool)
    crop = RandomCrop(crop_size=(100, 150))
    crop._rand_offset = lambda margin: (50, 100)
    transformed = crop(results)
    assert transformed['gt_bboxes_labels'].tolist() == [0]
    assert torch.allclose(transformed['gt_bboxes'].centers, torch.tensor([[50.0, 40.0]]), atol=1e-4)


@KINDS
def test_helpers(kind, rboxes):
    boxes = RotatedBoxes(rboxes).convert_to(kind)
    rois = bbox2roi([boxes, boxes[:2]])
    assert rois.shape == (62, 1 + kind.box_dim)
    assert torch.equal(rois[60:, 1:], boxes.tensor[:2])
    assert rois[:, 0].tolist() == [0.0] * 60 + [1.0] * 2
    assert get_box_tensor(boxes) is boxes.tensor
    assert torch.equal(cat_boxes([boxes, boxes]).tensor, boxes.tensor.repeat(2, 1))
    assert stack_boxes([boxes, boxes]).shape == (2, 60, kind.box_dim)
    assert type(empty_box_as(boxes)) is kind
    assert torch.equal(get_box_wh(boxes)[0], boxes.widths)
    centers = boxes.centers
    scaled = scale_boxes(boxes, (2.0, 2.0))
    assert torch.allclose(scaled.centers, centers * 2, atol=1e-3)
