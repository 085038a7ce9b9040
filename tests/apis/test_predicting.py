"""Prediction on files and folders."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmcv.cnn import ConvModule

import stn_det.register  # noqa: F401  before mmcv
from stn_det.apis import ImagePrediction, Predictor, predict
from stn_det.apis.predicting import collect_images
from stn_det.errors import ClassMismatchError, InputError


def prediction() -> ImagePrediction:
    """Two boxes with known corners."""
    return ImagePrediction(
        path=Path('P1.png'),
        height=100,
        width=200,
        boxes=np.array([[50, 40, 20, 10, 0], [100, 50, 40, 20, -np.pi / 2]], dtype=np.float32),
        scores=np.array([0.9, 0.4], dtype=np.float32),
        labels=np.array([1, 0]),
        classes=('plane', 'ship'),
    )


def test_corners_are_those_of_the_convention() -> None:
    first, second = prediction().corners()
    assert first.tolist() == [40, 35, 60, 35, 60, 45, 40, 45]
    # turned by -90 degrees: the first corner (-w/2, -h/2) comes to (-h/2, +w/2)
    assert second == pytest.approx([90, 70, 90, 30, 110, 30, 110, 70], abs=1e-4)


def test_dota_lines() -> None:
    assert prediction().to_dota().splitlines()[0] == ('40.00 35.00 60.00 35.00 60.00 45.00 40.00 45.00 ship 0.900000')


def test_json_holds_both_forms() -> None:
    value = json.loads(json.dumps(prediction().to_dict()))
    assert (value['image'], value['width'], value['height']) == ('P1.png', 200, 100)
    assert value['detections'][0] == {
        'class': 'ship',
        'label': 1,
        'score': 0.9,
        'rbox': [50, 40, 20, 10, 0],
        'qbox': [40, 35, 60, 35, 60, 45, 40, 45],
    }


def test_keep_by_score_and_class() -> None:
    assert prediction().keep(0.5).labels.tolist() == [1]
    assert prediction().keep(0.0, labels=[0]).scores.tolist() == pytest.approx([0.4])
    assert len(prediction().keep(0.95)) == 0
    assert prediction().keep(0.95).to_dota() == ''


def test_folders_are_searched_and_texts_left_out(images: Path) -> None:
    found = collect_images([images, images / 'a.v1.png'])
    assert {path.name: str(name) for path, name in found.items()} == {'a.v1.png': 'a.v1.png', 'b.jpg': 'below/b.jpg'}


def test_pictures_of_an_earlier_prediction_are_passed_over(images: Path) -> None:
    shutil.copy(images / 'a.v1.png', images / 'b_boxes.png')
    assert 'b_boxes.png' in {path.name for path in collect_images([images])}, 'without a JSON it is an image'
    (images / 'b.json').write_text('{}')
    assert 'b_boxes.png' not in {path.name for path in collect_images([images])}


@pytest.mark.parametrize(
    ('name', 'message'),
    [('a.v2.png', 'Did you mean a.v1.png'), ('notes.txt', 'is not an image by its name'), ('empty', 'holds no image')],
)
def test_useless_inputs_are_named(images: Path, name: str, message: str) -> None:
    (images / 'empty').mkdir()
    with pytest.raises(InputError, match=message):
        collect_images([images / name])


def test_results_of_an_image(small_config: Path, small_checkpoint: Path, images: Path) -> None:
    found = Predictor(small_config, small_checkpoint, device='cpu')(images / 'below' / 'b.jpg')
    assert (found.height, found.width) == (64, 48)
    assert found.boxes.shape == (len(found), 5)
    assert len(found) > 0
    assert np.all(np.diff(found.scores) <= 0)
    assert np.all(found.boxes[:, 2] >= found.boxes[:, 3])
    assert set(found.labels.tolist()) <= set(range(len(found.classes)))


def test_norms_are_folded_and_nothing_changes(small_config: Path, small_checkpoint: Path, images: Path) -> None:
    detect = Predictor(small_config, small_checkpoint, device='cpu')
    blocks = [block for block in detect.model.modules() if isinstance(block, ConvModule) and block.with_norm]
    folded = [block for block in blocks if block.efficient_conv_bn_eval_forward is not None]
    assert len(folded) > 40
    found = detect(images / 'a.v1.png')
    for block in folded:
        block.turn_on_efficient_conv_bn_eval(False)
    expected = detect(images / 'a.v1.png')
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


def test_files_are_written_and_a_corrupt_image_does_not_stop_the_rest(
    small_config: Path, small_checkpoint: Path, images: Path, tmp_path: Path
) -> None:
    (images / 'aa_corrupt.png').write_bytes((images / 'a.v1.png').read_bytes()[:100])
    out = tmp_path / 'out'
    settings = dict(out_dir=out, score_thr=0.0, device='cpu', progress=False)
    result = predict(small_config, small_checkpoint, [images], **settings)
    assert [path.name for path in result.failed] == ['aa_corrupt.png']
    assert [path.name for path in result.done] == ['a.v1.png', 'b.jpg']
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob('*') if path.is_file())
    assert written == [
        'a.v1.json', 'a.v1.txt', 'a.v1_boxes.png', 'below/b.json', 'below/b.txt', 'below/b_boxes.png',
    ]  # fmt: skip
    stored = json.loads((out / 'below' / 'b.json').read_text())
    assert len(stored['detections']) == len((out / 'below' / 'b.txt').read_text().splitlines())
    assert cv2.imread(str(out / 'below' / 'b_boxes.png')).shape == (64, 48, 3)

    (out / 'a.v1.json').unlink()
    again = predict(small_config, small_checkpoint, [images], resume=True, **settings)
    assert [path.name for path in again.done] == ['a.v1.png']
    assert [path.name for path in again.skipped] == ['b.jpg']


def test_only_the_named_classes_are_written(
    small_config: Path, small_checkpoint: Path, images: Path, tmp_path: Path
) -> None:
    settings = dict(score_thr=0.0, device='cpu', draw=False, progress=False)
    predict(small_config, small_checkpoint, [images], out_dir=tmp_path / 'all', **settings)
    predict(small_config, small_checkpoint, [images], out_dir=tmp_path / 'one', classes=['ship'], **settings)
    every, one = (json.loads((tmp_path / name / 'a.v1.json').read_text())['detections'] for name in ('all', 'one'))
    assert one == [detection for detection in every if detection['class'] == 'ship']


def test_images_of_one_stem_do_not_overwrite_each_other(
    small_config: Path, small_checkpoint: Path, images: Path, tmp_path: Path
) -> None:
    shutil.copy(images / 'a.v1.png', images / 'c.png')
    shutil.copy(images / 'below' / 'b.jpg', images / 'c.jpg')
    inputs = [images / 'c.png', images / 'c.jpg']
    predict(small_config, small_checkpoint, inputs, out_dir=tmp_path / 'o', device='cpu', draw=False, progress=False)
    assert {path.name for path in (tmp_path / 'o').glob('*.json')} == {'c.png.json', 'c.jpg.json'}


def test_an_unknown_class_is_named(small_config: Path, small_checkpoint: Path, images: Path) -> None:
    with pytest.raises(
        ClassMismatchError, match=r"class 'shipp' is not one that this model detects. Did you mean ship"
    ):
        predict(small_config, small_checkpoint, [images], classes=['shipp'], device='cpu')


def test_a_threshold_out_of_range_is_refused(images: Path) -> None:
    with pytest.raises(InputError, match=r'score_thr is 30; expected a number in \[0, 1\]'):
        predict('unused', 'unused', [images], score_thr=30)


def test_weights_of_another_model_are_refused(small_config: Path, small_checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(small_checkpoint, weights_only=True)
    state = content['state_dict']
    state['bbox_head.stray'] = state.pop(next(name for name in state if name.startswith('bbox_head')))
    name = next(name for name, value in state.items() if value.ndim == 4)
    state[name] = state[name][:, :, :1]
    other = tmp_path / 'other.pth'
    torch.save(content, other)
    with pytest.raises(InputError, match=r'does not fit the model .*: 1 of \d+ tensors are missing and 1 have another'):
        Predictor(small_config, other, device='cpu')
