"""Datasets on disk: layout, workers, resuming, refusing foreign folders."""

import hashlib
import json

import cv2
import numpy as np
import pytest

from stn_det.datasets.scenes import CLASSES, SceneConfig, generate_scene, write_scenes, writer
from stn_det.errors import DatasetError, InputError

CONFIG = SceneConfig(size=(128, 128), gsd=(0.3, 0.32))


def _contents(folder) -> dict[str, str]:
    files = (path for path in folder.rglob('*') if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _read_dota(path) -> tuple[dict[str, str], list]:
    """A reader of its own: header lines, then eight numbers, class and difficulty."""
    header, objects = {}, []
    for line in path.read_text().splitlines():
        if ':' in line:
            key, value = line.split(':')
            header[key] = value
        else:
            *numbers, label, difficult = line.split(' ')
            objects.append((np.array([float(number) for number in numbers]).reshape(4, 2), label, int(difficult)))
    return header, objects


def test_layout_can_be_read_back(tmp_path):
    config = SceneConfig(size=(160, 128), second='infrared', kinds={'parking': 1})
    out = write_scenes(tmp_path / 'data', 2, config, seed=4, workers=1, progress=False)
    for index in range(2):
        scene = generate_scene(config, (4, index))
        name = f'P{index:05d}'
        image = cv2.imread(str(out / 'images' / f'{name}.png'))[..., ::-1]
        np.testing.assert_array_equal(image, scene.image)
        np.testing.assert_array_equal(cv2.imread(str(out / 'images_second' / f'{name}.png')), scene.second.image)
        for folder, wanted in (('labelTxt', scene.objects), ('labelTxt_second', scene.second.objects)):
            header, objects = _read_dota(out / folder / f'{name}.txt')
            assert header['imagesource'] == 'synthetic'
            assert float(header['gsd']) == pytest.approx(scene.meta['gsd'], abs=1e-6)
            assert len(objects) == len(wanted) > 0
            for (corners, label, difficult), item in zip(objects, wanted, strict=True):
                np.testing.assert_allclose(corners, item.corners, atol=0.0051)
                assert (label, difficult) == (item.label, item.difficult)
                assert label in CLASSES
        assert json.loads((out / 'meta' / f'{name}.json').read_text())['seed'] == [4, index]


def test_two_workers_write_the_same_bytes_as_one(tmp_path):
    for workers in (1, 2):
        write_scenes(tmp_path / str(workers), 5, CONFIG, seed=2, workers=workers, progress=False)
    one, two = _contents(tmp_path / '1'), _contents(tmp_path / '2')
    assert len(one) == 16
    assert one == two


def test_an_interrupted_run_continues_to_the_same_dataset(tmp_path, monkeypatch):
    write_scenes(tmp_path / 'whole', 4, CONFIG, workers=1, progress=False)
    made = []

    def stop_at_third(config, seed):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(seed)
        return generate_scene(config, seed)

    monkeypatch.setattr(writer, 'generate_scene', stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path / 'cut', 4, CONFIG, workers=1, progress=False)
    # As if the power had gone between label and image of the third scene.
    (tmp_path / 'cut' / 'labelTxt' / 'P00002.txt').write_text('half a li')
    made.clear()
    monkeypatch.setattr(
        writer, 'generate_scene', lambda config, seed: made.append(seed) or generate_scene(config, seed)
    )
    write_scenes(tmp_path / 'cut', 4, CONFIG, workers=1, progress=False)
    assert made == [(0, 2), (0, 3)]
    assert _contents(tmp_path / 'cut') == _contents(tmp_path / 'whole')


def test_a_finished_dataset_is_left_alone(tmp_path, monkeypatch):
    write_scenes(tmp_path, 1, CONFIG, workers=1, progress=False)
    monkeypatch.setattr(writer, 'generate_scene', lambda *_: pytest.fail('a finished scene was made again'))
    write_scenes(tmp_path, 1, CONFIG, workers=1, progress=False)


def test_a_folder_of_another_dataset_is_refused(tmp_path):
    write_scenes(tmp_path, 1, CONFIG, seed=0, workers=1, progress=False)
    with pytest.raises(DatasetError, match=r'another seed \(0, not 7\)'):
        write_scenes(tmp_path, 1, CONFIG, seed=7, workers=1, progress=False)
    with pytest.raises(DatasetError, match=r'another config: density is 1\.0, not 0\.5'):
        write_scenes(tmp_path, 1, SceneConfig(size=(128, 128), gsd=(0.3, 0.32), density=0.5), workers=1, progress=False)
    (tmp_path / 'scenes.json').write_text('{')
    with pytest.raises(DatasetError, match=r'scenes\.json is not valid JSON'):
        write_scenes(tmp_path, 1, CONFIG, workers=1, progress=False)
    (tmp_path / 'scenes.json').unlink()
    with pytest.raises(DatasetError, match=r'holds images but no scenes\.json'):
        write_scenes(tmp_path, 1, CONFIG, workers=1, progress=False)


def test_wrong_numbers_are_named(tmp_path):
    with pytest.raises(InputError, match='num_images is -1'):
        write_scenes(tmp_path, -1)
    with pytest.raises(InputError, match='seed is -3'):
        write_scenes(tmp_path, 1, seed=-3)
