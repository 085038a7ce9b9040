"""The whole demo, as small as it gets, and what it leaves behind."""

import json
import shutil
from pathlib import Path

import cv2
import pytest

from stn_det.apis import checkpoint_classes, config_classes, load_config, run_demo
from stn_det.apis.classes import load_checkpoint_file
from stn_det.apis.demo import DemoResult
from stn_det.apis.demo_pictures import merge_histories
from stn_det.apis.demo_plan import DEMO_CONFIG


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished quick demo with one epoch."""
    work_dir = tmp_path_factory.mktemp('demo')
    run_demo(work_dir, quick=True, images=8, epochs=1, device='cpu', progress=False)
    return work_dir


def test_figures_are_written(folder: Path) -> None:
    record = json.loads((folder / 'metrics.json').read_text())
    assert {'dota/AP50', 'dota/AP75', 'dota/mAP'} <= set(record['metrics'])
    assert set(record['seconds']) == {'scenes', 'train', 'evaluate', 'draw'}
    assert record['plan']['train_images'] == 8
    assert record['versions']['torch']


def test_random_weights_are_not_frozen(folder: Path) -> None:
    backbone = load_config(folder / 'config.py').model.backbone
    assert backbone.init_cfg is None
    assert (backbone.frozen_stages, backbone.norm_eval) == (-1, False)
    assert load_config(DEMO_CONFIG).model.backbone.frozen_stages > 0


def test_the_table_has_a_line_for_each_class() -> None:
    metrics = {
        'dota/AP50': 0.5,
        'dota/AP75': 0.25,
        'dota/mAP': float('nan'),
        'dota/AP50_ship': 1.0,
        'dota/AP75_ship': 0.2,
    }
    table = DemoResult(Path('w'), Path('c'), Path('d'), metrics, {'train': 12.3}, ()).table().splitlines()
    assert table[:4] == [
        '| class | AP50 | AP75 | mAP |',
        '|---|---|---|---|',
        '| all | 50.0 | 25.0 | - |',
        '| ship | 100.0 | 20.0 | - |',
    ]
    assert table[-1] == '| train | 12 s |'


def test_the_detector_carries_its_classes_and_no_optimiser(folder: Path) -> None:
    content = load_checkpoint_file(folder / 'detector.pth')
    assert set(content) == {'state_dict', 'meta'}
    assert checkpoint_classes(content) == config_classes(load_config(folder / 'config.py'))
    trained = load_checkpoint_file(folder / 'run' / 'epoch_1.pth')
    assert (folder / 'detector.pth').stat().st_size < 0.6 * (folder / 'run' / 'epoch_1.pth').stat().st_size
    name = 'bbox_head.' + next(key for key in content['state_dict'] if key.startswith('bbox_head')).partition('.')[2]
    assert content['state_dict'][name].equal(trained['state_dict'][name])


def test_pictures_are_written(folder: Path) -> None:
    for name in ('gallery.png', 'training.png'):
        picture = cv2.imread(str(folder / name))
        assert min(picture.shape[:2]) > 200
        assert picture.std() > 1


def test_the_config_it_leaves_is_complete(folder: Path) -> None:
    cfg = load_config(folder / 'config.py')
    shipped = load_config(DEMO_CONFIG)
    assert cfg.model.bbox_head == shipped.model.bbox_head
    assert Path(cfg.test_dataloader.dataset.data_root) == folder.resolve() / 'data'


def test_a_second_call_repeats_nothing(folder: Path) -> None:
    image = folder / 'data' / 'train' / 'images' / 'P00000.png'
    checkpoint = folder / 'detector.pth'
    before = image.stat().st_mtime_ns, checkpoint.stat().st_mtime_ns
    (folder / 'metrics.json').unlink()
    result = run_demo(folder, quick=True, images=8, epochs=1, device='cpu', progress=False)
    assert (image.stat().st_mtime_ns, checkpoint.stat().st_mtime_ns) == before
    assert (folder / 'metrics.json').is_file()
    assert str(checkpoint) in result.next_steps()


def test_a_checkpoint_cut_short_is_made_again(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / 'demo'
    shutil.copytree(folder, again)
    (again / 'detector.pth').unlink()
    # killed while it saved: a part of the file, not yet named as the newest
    whole = (again / 'run' / 'epoch_1.pth').read_bytes()
    (again / 'run' / 'epoch_1.pth').write_bytes(whole[: len(whole) // 2])
    (again / 'run' / 'last_checkpoint').unlink()
    run_demo(again, quick=True, images=8, epochs=1, device='cpu', progress=False)
    assert checkpoint_classes(load_checkpoint_file(again / 'detector.pth'))


def test_histories_of_a_resumed_run_become_one(tmp_path: Path) -> None:
    first = [
        {'loss': 3.0, 'step': 1},
        {'loss': 2.0, 'step': 2},
        {'dota/AP50': 0.1, 'step': 1},
        {'loss': 9.0, 'step': 3},
    ]
    second = [{'loss': 1.0, 'step': 3}, {'dota/AP50': 0.2, 'step': 2}]
    for name, lines in (('20260101_000000', first), ('20260102_000000', second)):
        part = tmp_path / name / 'vis_data' / 'scalars.json'
        part.parent.mkdir(parents=True)
        part.write_text(
            ''.join(f'{json.dumps(line)}\n' for line in lines) + '{"loss": 0.5, "st'
        )  # killed while writing
    merged = [json.loads(line) for line in merge_histories(tmp_path).read_text().splitlines()]
    assert [line['loss'] for line in merged if 'loss' in line] == [3.0, 2.0, 1.0]
    assert [line['dota/AP50'] for line in merged if 'loss' not in line] == [0.1, 0.2]
