"""The second image follows the first through every transform that records its matrix."""

import random

import numpy as np
import pytest
import torch
from mmdet.registry import TRANSFORMS
from mmengine.dataset import Compose

from stn_det.datasets.transforms import WarpSecondLikeFirst
from stn_det.datasets.transforms.paired.warp import warp_image
from stn_det.errors import ConfigError, InputError
from stn_det.geometry import rotation_matrix, translation
from stn_det.models.stn.align_losses import read_truth

GEOMETRY = {
    'nothing': [],
    'larger': [dict(type='Resize', scale=(233, 300), keep_ratio=True)],
    'smaller': [dict(type='Resize', scale=(85, 85), keep_ratio=True)],
    'unequal': [dict(type='Resize', scale=(150, 140), keep_ratio=False)],
    'scaled': [dict(type='RandomResize', scale=(120, 90), ratio_range=(0.8, 1.7), keep_ratio=True)],
    'flip': [dict(type='RandomFlip', prob=0.8, direction=['horizontal', 'vertical', 'diagonal'])],
    'turn': [dict(type='RandomQuarterTurn', prob=1.0)],
    'rotate': [dict(type='OrientedRandomRotate', prob=1.0)],
    'rotate-grow': [dict(type='OrientedRandomRotate', prob=1.0, canvas='grow')],
    'crop': [dict(type='OrientedRandomCrop', crop_size=(100, 80), allow_negative_crop=True)],
    'mmdet-crop': [dict(type='RandomCrop', crop_size=(108, 84))],
    'pad': [dict(type='Pad', size=(160, 170))],
    'chain': [
        dict(type='OrientedRandomRotate', prob=1.0, canvas='grow'),
        dict(type='RandomFlip', prob=0.8, direction=['horizontal', 'vertical', 'diagonal']),
        dict(type='Resize', scale=(230, 230), keep_ratio=True),
        dict(type='OrientedRandomCrop', crop_size=(200, 200)),
        dict(type='RandomQuarterTurn', prob=1.0),
        dict(type='Pad', size=(240, 240)),
    ],
}


def run(steps, sample, seed=0):
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    return Compose([TRANSFORMS.build(dict(step)) for step in [*steps, dict(type='WarpSecondLikeFirst')]])(sample)


@pytest.mark.parametrize('second_size', [(120, 90), (60, 45), (240, 180), (90, 110)])
@pytest.mark.parametrize('steps', GEOMETRY.values(), ids=GEOMETRY)
def test_both_sensors_stay_together(make_pair, dots, steps, second_size):
    for seed in range(3):
        sample = run(steps, make_pair(second_size), seed)
        assert sample['second_img'].shape == sample['img'].shape
        assert sample['second_img'].dtype == np.float32
        first, second = dots.find(sample['img']), dots.find(sample['second_img'])
        assert np.abs(first - second).max() < 0.05
        assert np.allclose(sample['second_from_first'], np.eye(3), atol=1e-4)


@pytest.mark.parametrize('steps', GEOMETRY.values(), ids=GEOMETRY)
def test_boxes_lie_on_what_both_sensors_show(make_pair, dots, steps):
    sample = run(steps, make_pair((60, 45)))
    assert np.abs(sample['gt_bboxes'].centers.numpy() - dots.find(sample['second_img'])).max() < 0.1


@pytest.mark.parametrize('steps', GEOMETRY.values(), ids=GEOMETRY)
def test_a_known_misalignment_is_handed_on_in_the_new_frame(make_pair, dots, steps):
    move = translation(7.0, -4.0) @ rotation_matrix(0.06, (60, 45))
    known = np.diag([0.5, 0.5, 1.0]) @ move.numpy()
    sample = run(steps, make_pair((60, 45), known))
    first, second = dots.find(sample['img']), dots.find(sample['second_img'])
    assert np.abs(first - second).max() > 2, 'the misalignment stays in the image'
    assert np.abs(dots.apply(sample['second_from_first'], first) - second).max() < 0.05


@pytest.mark.parametrize('steps', [[], [dict(type='JitterSecond', shift=(5, 5))]], ids=['as it is', 'jitter'])
def test_unregistered_files_have_no_known_misalignment(make_pair, dots, steps):
    transform = dict(type='WarpSecondLikeFirst', registered=False)
    sample = Compose([TRANSFORMS.build(step) for step in [*steps, transform]])(make_pair((60, 45)))
    assert 'second_from_first' not in sample
    assert np.linalg.norm(dots.find(sample['second_img']) - dots.find(sample['img']), axis=1) == pytest.approx(
        5 * len(steps), abs=0.05
    )
    packed = TRANSFORMS.build(dict(type='PackPairedInputs'))(sample)
    truth, known = read_truth([packed['data_samples']], torch.device('cpu'))
    assert known.tolist() == [0]
    assert torch.equal(truth[0], torch.eye(3, dtype=torch.float64))


def test_what_the_dataset_knows_is_handed_on_for_unregistered_files_too(make_pair):
    known = translation(7.0, -4.0).numpy()
    sample = WarpSecondLikeFirst(registered=False)(make_pair(second_from_first=known))
    assert np.allclose(sample['second_from_first'], known)
    assert 'registered=False' in repr(WarpSecondLikeFirst(registered=False))


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int16, np.float32, np.float64])
@pytest.mark.parametrize('channels', [None, 1, 3, 7])
def test_flips_turns_and_crops_are_exact(make_pair, dtype, channels):
    steps = [
        dict(type='OrientedRandomCrop', crop_size=(101, 77), allow_negative_crop=True),
        dict(type='RandomFlip', prob=1.0, direction=['horizontal', 'vertical', 'diagonal']),
        dict(type='RandomQuarterTurn', prob=1.0),
        dict(type='OrientedRandomRotate', prob=1.0, angle_range=(90, 90), canvas='grow'),
    ]
    shape = (90, 120) if channels is None else (90, 120, channels)
    noise = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    for seed in range(8):
        sample = make_pair() | dict(img=noise, second_img=noise)
        # OpenCV turns the first image by bilinear weights of its own; a turn by index is exact
        sample = run(steps[:3], sample, seed)
        assert np.array_equal(sample['img'], sample['second_img'])
        turned = run(steps[3:], make_pair() | dict(img=noise, second_img=noise), seed)
        assert np.array_equal(turned['second_img'], np.rot90(noise, -1))


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear', 'bicubic'])
def test_large_images_stay_exact(interpolation):
    noise = np.random.default_rng(0).random((60, 4100))
    matrix = np.array([[-1, 0, 4100], [0, 1, 0], [0, 0, 1]], dtype=np.float32)
    moved = warp_image(noise, matrix @ np.linalg.inv(matrix) @ matrix, (4100, 60), 0, interpolation)
    assert np.array_equal(moved, noise[:, ::-1])


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear', 'bicubic'])
def test_a_shift_by_whole_pixels_is_exact_up_to_the_padding(interpolation):
    noise = np.random.default_rng(0).random((20, 31)).astype(np.float32)
    moved = warp_image(noise, translation(3, -2).numpy(), (31, 20), 7, interpolation)
    assert np.array_equal(moved[:18, 3:], noise[2:, :28])
    assert (moved[18:] == 7).all()
    assert (moved[:, :3] == 7).all()


def test_a_matrix_that_is_nearly_a_flip_is_not_rounded():
    ramp = np.tile(np.arange(1000, dtype=np.float32), (4, 1))
    stretched = warp_image(ramp, np.diag([1.004, 1, 1.0]), (1000, 4))
    assert abs(stretched[0, 900] - (900.5 / 1.004 - 0.5)) < 0.05


def test_a_much_larger_second_image_is_averaged(make_pair):
    # Stripes of one pixel: taking every seventh pixel would give black or white.
    stripes = np.zeros((630, 840), np.uint8)
    stripes[:, ::2] = 200
    sample = run([], make_pair() | dict(second_img=stripes, second_ori_shape=stripes.shape))
    assert sample['second_img'].shape == (90, 120)
    assert np.abs(sample['second_img'].astype(int) - 100).max() <= 15  # 3 or 4 white ones of 7


def test_averaging_keeps_the_centroids(make_pair, dots):
    sample = run([dict(type='Resize', scale=(60, 45))], make_pair((501, 377)))
    assert np.abs(dots.find(sample['img']) - dots.find(sample['second_img'])).max() < 0.05


def test_padding_and_holes():
    image = np.full((10, 10, 2), 5, np.float32)
    image[4, 4] = np.nan
    moved = warp_image(image, translation(3, 0).numpy(), (10, 10), pad_val=(7, -2))
    assert (moved[:, :3] == (7, -2)).all()
    assert (moved[4, 7] == (7, -2)).all()
    assert np.isfinite(warp_image(image, translation(0.5, 0.5).numpy(), (10, 10))).all()
    with pytest.raises(InputError, match='pad_val has 3 values for 2 channels'):
        warp_image(image, np.eye(3), (10, 10), pad_val=(0, 0, 0))
    with pytest.raises(InputError, match=r'type int32, expected one of uint8.*to_float32=True'):
        warp_image(np.zeros((9, 9), np.int32), np.eye(3), (10, 10))


def test_labels_and_first_image_are_untouched(make_pair):
    sample, before = make_pair(), make_pair()
    WarpSecondLikeFirst()(sample)
    assert np.array_equal(sample['img'], before['img'])
    assert torch.equal(sample['gt_bboxes'].tensor, before['gt_bboxes'].tensor)


def test_errors(make_pair):
    with pytest.raises(ConfigError, match="interpolation is 'area', expected one of"):
        WarpSecondLikeFirst(interpolation='area')
    with pytest.raises(InputError, match=r'no second image. Put LoadSecondImageFromFile before it'):
        WarpSecondLikeFirst()(dict(img=np.zeros((2, 2))))
    with pytest.raises(InputError, match=r'no first image. Put LoadCheckedImage before it'):
        WarpSecondLikeFirst()(dict(second_img=np.zeros((2, 2)), second_ori_shape=(2, 2)))
    with pytest.raises(InputError, match='was warped already'):
        WarpSecondLikeFirst()(WarpSecondLikeFirst()(make_pair()))


def test_a_mosaic_is_refused(make_pair):
    mosaic = TRANSFORMS.build(dict(type='OrientedMosaic'))
    with pytest.raises(ConfigError, match='cannot follow 4 images'):
        mosaic(make_pair() | dict(mix_results=[make_pair(), make_pair(), make_pair()]))
