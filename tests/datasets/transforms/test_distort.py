"""Distorted images and their labels."""

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose

from stn_det.datasets.transforms import DistortImage
from stn_det.errors import ConfigError, InputError
from stn_det.geometry import qbox_area, rbox_area, rbox_to_qbox

SIZE = (160, 120)
DOTS = [(80.0, 60.0), (61.3, 48.8), (97.9, 71.2), (84.5, 41.1), (70.2, 77.7)]
LEVELS = [
    ('rotation', 17), ('rotation', 90), ('rotation', 180), ('scale', 0.5), ('scale', 0.63), ('scale', 1.7),
    ('shear', 0.5), ('obliquity', 30), ('obliquity', 60), ('perspective', 60),
]  # fmt: skip


def dot(x: float, y: float, size: tuple[int, int] = SIZE, sigma: float = 1.5) -> np.ndarray:
    """A smooth dot of one channel on black."""
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]] + 0.5
    return (240 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))).astype(np.float32)


def centroid(image: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[0 : image.shape[0], 0 : image.shape[1]] + 0.5
    weight = image.astype(np.float64)
    return np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()


def middle(corners: list[float]) -> np.ndarray:
    """Where the diagonals meet, which homographies keep."""
    a, b, c, d = np.array(corners).reshape(4, 2)
    (s, _) = np.linalg.solve(np.stack([c - a, b - d], axis=1), b - a)
    return a + s * (c - a)


def instance(box: list[float], **kwargs: object) -> dict:
    return dict(bbox=list(box), bbox_label=0, ignore_flag=0, ignore_reason='', **kwargs)


def square(x: float, y: float, side: float = 9.0, theta: float = 0.4) -> list[float]:
    return rbox_to_qbox(torch.tensor([[x, y, side, side / 2, theta]]).double())[0].tolist()


def sample(image: np.ndarray | None = None, *boxes: list[float], name: str = 'a.png') -> dict:
    image = np.zeros((*SIZE[::-1], 3), np.uint8) if image is None else image
    shape = image.shape[:2]
    return dict(img=image, img_path=name, img_shape=shape, ori_shape=shape, instances=[instance(box) for box in boxes])


@pytest.mark.parametrize('dtype', [np.float32, np.uint8])
@pytest.mark.parametrize(('family', 'level'), LEVELS)
def test_dot_and_label_stay_together(family: str, level: float, dtype: type) -> None:
    for number, (x, y) in enumerate(DOTS):
        results = sample(dot(x, y).round().astype(dtype), square(x, y), name=f'{number}.png')
        results = DistortImage(family, level, fill={'img': 0})(results)
        found = centroid(results['img'])
        assert np.abs(found - middle(results['instances'][0]['bbox'])).max() < 0.05
        assert np.abs(found - (80, 60)).max() < 60


@pytest.mark.parametrize(
    ('family', 'level', 'factor'),
    [('rotation', 33, 1), ('scale', 0.5, 0.25), ('shear', 0.5, 1), ('obliquity', 60, 0.5)],
)
@pytest.mark.parametrize('kind', ['rbox', 'qbox'])
def test_areas_of_boxes(family: str, level: float, factor: float, kind: str) -> None:
    box = [70.0, 50.0, 30.0, 12.0, 0.7]
    corners = rbox_to_qbox(torch.tensor([box]).double())[0].tolist()
    results = DistortImage(family, level)(sample(None, box if kind == 'rbox' else corners))
    found = torch.tensor([results['instances'][0]['bbox']], dtype=torch.float64)
    area = rbox_area(found) if kind == 'rbox' else qbox_area(found)
    assert area.item() == pytest.approx(360 * factor)


def test_a_quadrilateral_stays_one() -> None:
    corners = [60.0, 40.0, 90.0, 44.0, 95.0, 70.0, 58.0, 66.0]
    results = DistortImage('obliquity', 60)(sample(None, corners))
    matrix = DistortImage('obliquity', 60).family.matrix(60, SIZE, _direction('a.png')).numpy()
    expected = np.array(corners).reshape(4, 2) @ matrix[:2, :2].T + matrix[:2, 2]
    assert np.array(results['instances'][0]['bbox']).reshape(4, 2) == pytest.approx(expected)


def _direction(name: str, seed: int = 0) -> float:
    from stn_det.datasets.distortions import drawn_direction

    return drawn_direction(seed, name)


def test_the_identity_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)
    for family, level in (('rotation', 0), ('scale', 1), ('shear', 0), ('obliquity', 0), ('perspective', 0)):
        results = sample(image, square(80.1, 60.7), [0.1 + side for side in square(60, 40)])
        before = [item.copy() for item in results['instances']]
        after = DistortImage(family, level, levels=(level,))(results)
        assert after['img'] is image
        assert after['instances'] == before


def test_the_same_objects_count_at_every_level() -> None:
    boxes = [square(80, 60), square(8, 8), square(150, 110), square(80, 6), square(118, 60)]
    flags = {}
    for level in (0, 30, 60, 90):
        results = DistortImage('rotation', level, levels=(0, 30, 60, 90))(sample(None, *boxes))
        flags[level] = [item['ignore_flag'] for item in results['instances']]
    assert flags[0] == flags[30] == flags[60] == flags[90] == [0, 1, 1, 0, 0]
    alone = DistortImage('rotation', 0)(sample(None, *boxes))
    assert [item['ignore_flag'] for item in alone['instances']] == [0, 0, 0, 0, 0]
    reasons = [item['ignore_reason'] for item in DistortImage('rotation', 30)(sample(None, *boxes))['instances']]
    assert reasons[0] == ''
    assert reasons[1] == 'leaves-frame'


def test_share_that_must_stay_inside() -> None:
    half_outside = [0.0, 50, 10, 50, 10, 60, 0, 60]  # shifted 5 to the left by the scale: half of it is left
    scale = 80 / 75
    for share, expected in ((0.75, 1), (0.4, 0), (0.0, 0)):
        transform = DistortImage('scale', scale, min_visible=share)
        assert transform(sample(None, half_outside))['instances'][0]['ignore_flag'] == expected
    outside = DistortImage('scale', 2, min_visible=0)(sample(None, square(10, 10)))
    assert outside['instances'][0]['ignore_flag'] == 0


def test_regions_to_ignore_are_moved_and_keep_their_reason() -> None:
    results = sample(None, square(10, 10))
    results['instances'][0].update(ignore_flag=1, ignore_reason='difficult')
    moved = DistortImage('rotation', 180)(results)['instances'][0]
    assert moved['ignore_reason'] == 'difficult'
    assert middle(moved['bbox']) == pytest.approx([150, 110])


def test_uncovered_pixels_have_the_colour_given_or_the_mean() -> None:
    image = np.full((*SIZE[::-1], 3), 80, np.uint8)
    image[:, 80:] = 100
    assert DistortImage('scale', 0.5)(sample(image))['img'][0, 0].tolist() == [90, 90, 90]
    given = DistortImage('scale', 0.5, fill={'img': (1.4, 2, 3)})(sample(image))
    assert given['img'][0, 0].tolist() == [1, 2, 3]


def test_direction_belongs_to_the_image() -> None:
    results = [DistortImage('obliquity', 50, seed=3)(sample(None, square(70, 40), name=n)) for n in ('a', 'a', 'b')]
    boxes = [item['instances'][0]['bbox'] for item in results]
    assert boxes[0] == boxes[1] != boxes[2]
    other = DistortImage('obliquity', 50, seed=4)(sample(None, square(70, 40), name='a'))
    assert other['instances'][0]['bbox'] != boxes[0]


def pair(second_size: tuple[int, int] = SIZE) -> dict:
    scale = second_size[0] / SIZE[0]
    return dict(sample(dot(70, 50), square(70, 50)), second_img=dot(70 * scale, 50 * scale, second_size, sigma=2))


def test_a_shift_moves_the_second_image_alone() -> None:
    before = pair()
    after = DistortImage('shift', 8, image_keys=('img', 'second_img'), fill={'second_img': 0})(dict(before))
    assert after['img'] is before['img']
    assert after['instances'] == before['instances']
    moved = centroid(after['second_img']) - (70, 50)
    angle = _direction('a.png')
    assert moved == pytest.approx([8 * np.cos(angle), 8 * np.sin(angle)], abs=0.05)


def test_other_families_move_both_images_alike() -> None:
    keys = dict(image_keys=('img', 'second_img'), fill={'img': 0, 'second_img': 0})
    after = DistortImage('obliquity', 40, **keys)(pair(second_size=(320, 240)))
    assert after['second_img'].shape == (240, 320)
    assert centroid(after['second_img']) / 2 == pytest.approx(centroid(after['img']), abs=0.05)


MISALIGNED = np.array([[1.02, 0.03, 3.0], [-0.03, 0.98, -2.0], [0.0, 0.0, 1.0]])


def misaligned_pair(second_size: tuple[int, int], known: bool) -> dict:
    """A loaded pair whose second file shows the dot elsewhere, or a registered one of which nothing is known."""
    to_second = np.diag([second_size[0] / SIZE[0], second_size[1] / SIZE[1], 1.0])
    matrix = to_second @ MISALIGNED if known else to_second
    x, y, _ = matrix @ (70, 50, 1)
    truth = dict(second_from_first=matrix) if known else {}
    second = dot(x, y, second_size, sigma=2)
    return dict(sample(dot(70, 50), square(70, 50)), second_img=second, second_ori_shape=second.shape, **truth)


@pytest.mark.parametrize('resize', [[], [dict(type='Resize', scale=(240, 180), keep_ratio=True)]], ids=['', 'resize'])
@pytest.mark.parametrize('second_size', [SIZE, (320, 240)])
@pytest.mark.parametrize('known', [True, False])
@pytest.mark.parametrize(('family', 'level'), [('shift', 8), ('rotation', 20), ('scale', 1.25), ('perspective', 40)])
def test_the_known_misalignment_stays_true(
    family: str, level: float, known: bool, second_size: tuple[int, int], resize: list
) -> None:
    keys = dict(image_keys=('img', 'second_img'), fill={'img': 0, 'second_img': 0})
    pipeline = Compose([DistortImage(family, level, **keys), *resize, dict(type='WarpSecondLikeFirst')])
    after = pipeline(misaligned_pair(second_size, known))
    found = after['second_from_first'] @ (*centroid(after['img']), 1)
    assert centroid(after['second_img']) == pytest.approx(found[:2] / found[2], abs=0.1)
    assert known or family == 'shift' or after['second_from_first'] == pytest.approx(np.eye(3), abs=1e-6)


def test_a_shift_of_unregistered_files_leaves_the_misalignment_unknown() -> None:
    shift = DistortImage('shift', 8, image_keys=('img', 'second_img'))
    pipeline = Compose([shift, dict(type='WarpSecondLikeFirst', registered=False)])
    assert 'second_from_first' not in pipeline(misaligned_pair(SIZE, known=False))
    assert 'second_from_first' in pipeline(misaligned_pair(SIZE, known=True))


def test_truth_loaded_after_resizing_is_that_of_the_distorted_image() -> None:
    pipeline = Compose(
        [
            DistortImage('rotation', 180),
            dict(type='Resize', scale=(80, 60), keep_ratio=True),
            dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
            dict(type='PackDetInputs', meta_keys=('ori_shape', 'scale_factor')),
        ]
    )
    packed = pipeline(dict(sample(None, square(60, 40)), img_id=0))
    truth = packed['data_samples'].gt_instances
    assert truth.bboxes.tensor[0].view(4, 2).mean(0).tolist() == pytest.approx([100, 80])
    assert packed['data_samples'].ori_shape == (120, 160)


def test_an_image_without_labels() -> None:
    assert DistortImage('rotation', 30)(sample())['instances'] == []
    results = DistortImage('rotation', 30)(dict(img=np.zeros((9, 9, 3), np.uint8)))
    assert 'instances' not in results


def test_wrong_settings() -> None:
    with pytest.raises(ConfigError, match=r"family is 'turn', expected one of \('rotation', 'scale'"):
        DistortImage('turn', 3)
    with pytest.raises(ConfigError, match='shift moves the second image of a pair, but image_keys is'):
        DistortImage('shift', 3)
    with pytest.raises(InputError, match='level 90 of obliquity is out of range; expected 0 to 80'):
        DistortImage('obliquity', 10, levels=(0, 90))
    with pytest.raises(ConfigError, match='min_visible is 2, expected a share from 0 to 1'):
        DistortImage('rotation', 10, min_visible=2)


def test_wrong_samples() -> None:
    transform = DistortImage('rotation', 10)
    with pytest.raises(InputError, match=r"no image in results\['img'\]. Put it after the loading"):
        transform(dict(instances=[]))
    with pytest.raises(InputError, match='the sample holds gt_bboxes, which it does not move'):
        transform(dict(sample(), gt_bboxes=np.zeros((1, 4))))
    with pytest.raises(InputError, match=r'have \[4\] numbers, expected 5'):
        transform(sample(None, [1.0, 2.0, 3.0, 4.0]))
    with pytest.raises(ConfigError, match=r"holds the images \['second_img'\], which it would not move"):
        transform(pair())
    with pytest.raises(InputError, match=r"no image in results\['second_img'\]"):
        DistortImage('shift', 3, image_keys=('img', 'second_img'))(sample())


def test_representation_names_the_settings() -> None:
    text = repr(DistortImage('scale', 0.5, levels=(2,), fill={'img': 3}))
    assert text.startswith("DistortImage(family='scale', level=0.5, levels=(0.5, 1.0, 2.0)")
