import cv2
import numpy as np
import pytest

from stn_det.errors import InputError

FALSE, MISSED, TRUTH = (255, 45, 45), (255, 225, 0), (255, 255, 255)
BOX = [100.0, 60.0, 60.0, 30.0, 0.4]


def sample(name='P0001', boxes=(BOX,), outcomes=(1,), truths=(BOX,), found=(True,), ignored=None, shape=(120, 200)):
    from stn_det.visualization import GallerySample

    image = np.full((*shape, 3), 60, dtype=np.uint8)
    boxes = np.array(boxes, dtype=float).reshape(-1, 5)
    return GallerySample(image, name, boxes, np.zeros(len(boxes)), outcomes, truths, found, ignored)


def page(tmp_path, samples, **kwargs):
    from stn_det.visualization import prediction_gallery

    file = prediction_gallery(samples, tmp_path / 'deep' / 'page.png', classes=('ship',), **kwargs)
    return cv2.imread(str(file))[..., ::-1]


def count(image, color):
    return int((np.abs(image.astype(int) - color).max(axis=2) < 40).sum())


def test_colours_tell_right_false_and_missed_apart(tmp_path):
    key_only = page(tmp_path, [sample(boxes=(), outcomes=(), truths=(), found=())])
    right = page(tmp_path, [sample()])
    false = page(tmp_path, [sample(outcomes=(0,), truths=(), found=())])
    missed = page(tmp_path, [sample(boxes=(), outcomes=(), found=(False,))])
    reference = [count(key_only, color) for color in (FALSE, MISSED)]
    assert count(right, FALSE) <= reference[0] + 5
    assert count(right, MISSED) <= reference[1] + 5
    assert count(false, FALSE) > reference[0] + 150
    assert count(missed, MISSED) > reference[1] + 300


def test_difficult_truths_are_not_missed(tmp_path):
    plain = page(tmp_path, [sample(boxes=(), outcomes=(), truths=(), found=())])
    difficult = page(tmp_path, [sample(boxes=(), outcomes=(), found=(False,), ignored=(True,))])
    assert count(difficult, MISSED) <= count(plain, MISSED) + 5
    assert count(difficult, TRUTH) > count(plain, TRUTH) + 100


def test_false_positives_are_dashed():
    from stn_det.visualization.outlines import draw_outline, to_corners

    solid, dashed = np.zeros((120, 200, 3), np.uint8), np.zeros((120, 200, 3), np.uint8)
    draw_outline(solid, to_corners([BOX])[0], FALSE, 2)
    draw_outline(dashed, to_corners([BOX])[0], FALSE, 2, dash=6.0)
    share = (dashed[..., 0] > 128).sum() / (solid[..., 0] > 128).sum()
    assert 0.4 < share < 0.85
    assert dashed[to_corners([BOX])[0].round().astype(int)[:, 1], to_corners([BOX])[0].round().astype(int)[:, 0]].any()


def test_rows_and_columns(tmp_path):
    wide, tall = (200, 400), (400, 200)
    one = page(tmp_path, [sample(shape=wide)], tile=400)
    three = page(tmp_path, [sample(shape=wide)] * 3, columns=3, tile=400)
    four = page(tmp_path, [sample(shape=wide)] * 4, columns=3, tile=400)
    assert one.shape[1] == 420
    assert three.shape[1] == 3 * 400 + 4 * 10
    assert four.shape[1] == three.shape[1]
    assert four.shape[0] > three.shape[0] + 200
    assert page(tmp_path, [sample(shape=tall)], tile=400).shape[0] > 400


def test_without_truth_objects_are_counted(tmp_path):
    image = page(tmp_path, [sample(outcomes=None, truths=None, found=None)])
    assert count(image, MISSED) == 0
    assert count(image, FALSE) == 0


def test_long_names_and_many_classes(tmp_path):
    from stn_det.visualization import GallerySample, prediction_gallery

    boxes = np.array([[20.0 + 8 * k, 60.0, 20.0, 10.0, 0.3] for k in range(20)])
    item = GallerySample(np.zeros((120, 200, 3), np.uint8), 'a-long-name' * 20, boxes, np.arange(20))
    file = prediction_gallery([item], tmp_path / 'page.jpg', classes=[f'class-number-{k}' for k in range(20)], tile=300)
    assert cv2.imread(str(file)).shape[1] == 320


def test_errors(tmp_path):
    with pytest.raises(InputError, match='got no samples'):
        page(tmp_path, [])
    with pytest.raises(InputError, match='outcomes has 2 entries for 1 boxes'):
        page(tmp_path, [sample(outcomes=(1, 0))])
    from stn_det.visualization import prediction_gallery

    with pytest.raises(InputError, match=r"ends in '\.tga'; expected \.png"):
        prediction_gallery([sample()], tmp_path / 'page.tga')
