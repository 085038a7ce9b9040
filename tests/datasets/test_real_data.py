"""The readers on real files."""

from collections import Counter

import pytest

from stn_det.datasets import DOTADataset, RotatedCocoDataset, check_dataset
from stn_det.datasets.transforms import LoadCheckedImage
from stn_det.errors import ImageError

pytestmark = pytest.mark.real_data
HIT_UAV_CLASSES = ('Person', 'Car', 'Bicycle', 'OtherVehicle')
PIPELINE_END = [
    dict(type='Resize', scale=(512, 512), keep_ratio=True),
    dict(type='OrientedRandomRotate', prob=1.0),
    dict(type='OrientedRandomCrop', crop_size=384),
    dict(type='FilterOrientedBoxes', min_size=2),
    dict(type='PackDetInputs'),
]


def hit_uav(root, split, **kwargs):
    return RotatedCocoDataset(
        data_root=str(root / 'hit_uav'),
        ann_file=f'annotations/{split}.json',
        data_prefix=dict(img_path=f'images/{split}'),
        metainfo=dict(classes=HIT_UAV_CLASSES),
        ignore_classes=('DontCare',),
        **kwargs,
    )


def dota(root, **kwargs):
    return DOTADataset(
        data_root=str(root / 'dota_samples'), ann_file='labelTxt', data_prefix=dict(img_path='images'), **kwargs
    )


def test_dota_samples(real_data):
    dataset = dota(real_data)
    infos = {info['img_id']: info for info in map(dataset.get_data_info, range(len(dataset)))}
    names = dataset.metainfo['classes']
    counts = {k: Counter(names[i['bbox_label']] for i in v['instances']) for k, v in infos.items()}
    # Counted in the files with grep -c, header lines aside.
    assert counts == {
        'P0003': {'large-vehicle': 40, 'small-vehicle': 15},
        'P0004': {'large-vehicle': 87, 'small-vehicle': 20},
        'P0005': {'large-vehicle': 99, 'small-vehicle': 31},
        'P1478__1__853___962': {'small-vehicle': 263, 'large-vehicle': 32},
        'P1888': {'large-vehicle': 50, 'small-vehicle': 14},
    }
    assert infos['P1888']['gsd'] == pytest.approx(0.266170468393)
    assert infos['P1478__1__853___962']['gsd'] is None
    assert (infos['P0004']['width'], infos['P0004']['height']) == (824, 1464)
    zero = [i for i in infos['P1478__1__853___962']['instances'] if i['ignore_reason'] == 'zero-area']
    assert [i['bbox'][:4] for i in zero] == [[1, 187, 1, 187], [1, 220, 1, 220]]
    assert all(i['ignore_flag'] for i in zero)


@pytest.mark.parametrize(
    ('split', 'images', 'counts', 'ignored_regions'),
    [('train', 2248, (10805, 5247, 2488, 89), 135), ('val', 287, (1394, 375, 1573, 23), 3)],
)
def test_hit_uav(real_data, split, images, counts, ignored_regions):
    dataset = hit_uav(real_data, split, ignore_difficult=False)
    report = check_dataset(dataset)
    assert report.num_images == images
    assert tuple(report.boxes_per_class.values()) == counts
    assert report.ignored == {'ignore-class': ignored_regions}
    assert report.num_zero_area == 0
    assert report.num_outside == 0
    assert report.image_sizes == {(640, 512): images}


@pytest.mark.parametrize(('split', 'count'), [('train', 600), ('val', 100)])
def test_hit_uav_small_lists(real_data, split, count):
    assert len(hit_uav(real_data, split, img_list=f'small_{split}.txt')) == count


def test_one_image_of_each_through_the_pipeline(real_data):
    load = dict(type='LoadCheckedImage')
    thermal = hit_uav(
        real_data,
        'val',
        img_list='small_val.txt',
        pipeline=[load, dict(type='LoadAnnotations', with_bbox=True, box_type='rbox'), *PIPELINE_END],
    )
    colour = dota(
        real_data,
        pipeline=[
            load,
            dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
            dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
            *PIPELINE_END,
        ],
    )
    for dataset in (thermal, colour):
        sample = dataset[0]
        truth = sample['data_samples'].gt_instances
        assert max(sample['inputs'].shape[1:]) == 384
        assert len(truth) > 0
        assert truth.bboxes.tensor.shape == (len(truth), 5)
        assert truth.bboxes.tensor.isfinite().all()


def test_rasters_that_are_no_ordinary_images_are_refused(real_data):
    load = LoadCheckedImage()
    with pytest.raises(ImageError, match=r'sample_geotiff.tif holds uint16 values from \d+ to \d+, expected 8 bits'):
        load(dict(img_path=str(real_data / 'geo' / 'sample_geotiff.tif')))
    with pytest.raises(ImageError, match=r'rgbn.tif has 4 bands, expected 1 or 3'):
        load(dict(img_path=str(real_data / 'geo' / 'rgbn.tif')))
    assert load(dict(img_path=str(real_data / 'geo' / 'OSBS_029.tif')))['img_shape'] == (400, 400)
