"""The rotated COCO reader on small datasets."""

import math

import pytest
import torch

from stn_det.datasets import RotatedCocoDataset
from stn_det.errors import AnnotationError, ClassMismatchError, ConfigError, DatasetError
from stn_det.geometry import rbox_to_qbox

CLASSES = ('car', 'boat')


def build(root, **kwargs):
    options = dict(
        data_root=str(root),
        ann_file='ann.json',
        data_prefix=dict(img_path='images'),
        metainfo=dict(classes=CLASSES),
        serialize_data=False,
    )
    return RotatedCocoDataset(**{**options, **kwargs})


def annotation(**changes):
    return dict(dict(id=3, image_id=7, category_id=0, bbox=[50, 40, 10, 20, 0.5]), **changes)


def boxes(dataset, index=0):
    return torch.tensor([item['bbox'] for item in dataset.get_data_info(index)['instances']])


def test_boxes_are_canonical_and_the_same_rectangle(make_coco):
    root = make_coco([annotation(), annotation(bbox=[50, 40, 30, 20, 3.0])])
    found = boxes(build(root))
    assert torch.allclose(found[0], torch.tensor([50, 40, 20, 10, 0.5 - math.pi / 2]))
    assert torch.allclose(found[1], torch.tensor([50, 40, 30, 20, 3.0 - math.pi]))
    corners = rbox_to_qbox(torch.tensor([[50, 40, 10, 20, 0.5]])).reshape(4, 2)
    quads = boxes(build(root, box_type='qbox'))[0].reshape(4, 2)
    assert torch.cdist(corners, quads).min(dim=1).values.max() < 1e-4


def test_quadrilaterals_become_rotated_boxes_and_back(make_coco):
    quad = [10, 10, 40, 10, 40, 20, 10, 20]
    root = make_coco([annotation(bbox=quad), annotation()])
    assert torch.allclose(boxes(build(root))[0].abs(), torch.tensor([25.0, 15, 30, 10, 0]), atol=1e-5)
    assert boxes(build(root, box_type='qbox'))[0].tolist() == quad


def test_degrees_and_direction(make_coco):
    root = make_coco([annotation(bbox=[50, 40, 20, 10, 30])])
    assert boxes(build(root, angle_unit='deg'))[0, 4] == pytest.approx(math.radians(30))
    assert boxes(build(root, angle_unit='deg', angle_direction='ccw'))[0, 4] == pytest.approx(-math.radians(30))
    with pytest.raises(AnnotationError, match="angle_unit='deg'"):
        build(root)


def test_metadata_ids_and_sizes(make_coco):
    images = [dict(id=7, filename='a.png', altitude='60'), dict(id=9, file_name='b.png', width=100, height=80)]
    dataset = build(make_coco([annotation()], images=images))
    info = dataset.get_data_info(0)
    assert (info['img_id'], info['width'], info['height'], info['meta']) == (7, 100, 80, dict(altitude='60'))
    assert dataset.get_data_info(1)['instances'] == []
    assert len(build(make_coco([annotation()], images=images), filter_cfg=dict(filter_empty_gt=True))) == 1


def test_regions_to_ignore(make_coco):
    categories = [dict(id=0, name='car'), dict(id=1, name='boat'), dict(id=2, name='DontCare')]
    root = make_coco(
        [
            annotation(),
            annotation(difficult=True),
            annotation(bbox=[50, 40, 10, 0, 0]),
            annotation(bbox=[300, 40, 10, 10, 0]),
            annotation(category_id=2),
        ],
        categories=categories,
    )
    dataset = build(root, ignore_classes=('DontCare',))
    found = [(i['bbox_label'], i['ignore_flag'], i['ignore_reason']) for i in dataset.get_data_info(0)['instances']]
    assert found == [
        (0, 0, ''),
        (0, 1, 'difficult'),
        (0, 1, 'zero-area'),
        (0, 1, 'outside'),
        (0, 1, 'ignore-class'),
        (1, 1, 'ignore-class'),
    ]
    assert build(root, ignore_classes=('DontCare',), ignore_difficult=False).get_cat_ids(0) == [0, 0]
    with pytest.raises(ClassMismatchError, match="class 'DontCare'"):
        build(root)


def test_missing_images(make_coco):
    root = make_coco([annotation()])
    (root / 'images' / 'a.png').unlink()
    with pytest.raises(DatasetError, match=r'1 of 1 images named in .*ann.json do not exist: .*a.png'):
        build(root)
    assert len(build(root, check_images=False)) == 1


def test_img_list(make_coco):
    images = [dict(id=i, file_name=f'{i}.png', width=100, height=80) for i in range(4)]
    root = make_coco([annotation(image_id=1)], images=images)
    (root / 'few.txt').write_text('1.png\n3\n')
    dataset = build(root, img_list='few.txt')
    assert [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))] == [1, 3]
    (root / 'few.txt').write_text('1.png\n4.png\n')
    with pytest.raises(DatasetError, match=r'1 listed images are not in .*ann.json: 4.png'):
        build(root, img_list='few.txt')


def test_no_images_at_all(make_coco):
    with pytest.raises(DatasetError, match='RotatedCocoDataset is empty: found no image'):
        build(make_coco([], images=[]))


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        (dict(angle_unit='grad'), "angle_unit is 'grad', expected one of"),
        (dict(angle_direction='left'), "angle_direction is 'left'"),
        (dict(box_type='hbox'), "box_type is 'hbox'"),
        (dict(ignore_classes='DontCare'), r"ignore_classes is the string 'DontCare', write \('DontCare',\)"),
        (dict(metainfo=None), 'classes is None'),
    ],
)
def test_bad_options(make_coco, options, match):
    with pytest.raises(ConfigError, match=match):
        build(make_coco([annotation()]), **options)
