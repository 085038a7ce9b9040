"""The benchmark against mmrotate: what its process is handed is what ours trains on, and its models can be built."""

import importlib.util
import pickle
import subprocess
import sys
from pathlib import Path

import mmrotate_training as benchmark
import pytest

from stn_det.apis import load_config

BUILD = """
import pickle, sys
sys.path.insert(0, 'benchmarks')
import mmrotate_training as benchmark
from mmengine.registry import MODELS
config = benchmark.theirs(pickle.load(open(sys.argv[1], 'rb')))
config.model.backbone.init_cfg = None
model = MODELS.build(config.model)
kinds = [type(module).__module__ for module in model.modules()]
print(config.work_dir, any(kind.startswith('mmrotate.') for kind in kinds), any('stn_det.models' in k for k in kinds))
"""


def test_the_same_steps_of_loading_by_other_names() -> None:
    steps = load_config(benchmark.DETECTORS['s2anet'][0]).train_dataloader.dataset.pipeline
    kept = [step['type'] for step in steps if step['type'] != 'FilterOrientedBoxes']
    found = benchmark.pipeline(steps, 'train')
    assert len(found) == len(kept)
    turn = found[kept.index('RandomQuarterTurn')]
    assert (turn['type'], turn['angles'], turn['prob']) == ('RandomChoiceRotate', [90], 0.5)
    assert [step['type'] for step in found if step['type'].startswith('mmdet.')] == [
        'mmdet.LoadImageFromFile',
        'mmdet.LoadAnnotations',
        'mmdet.Resize',
        'mmdet.RandomFlip',
        'mmdet.PackDetInputs',
    ]


def test_labels_without_the_lines_above_the_boxes(tmp_path: Path) -> None:
    labels = tmp_path / 'train' / 'labelTxt'
    labels.mkdir(parents=True)
    boxes = '0 0 9 0 9 9 0 9 ship 0\n1 1 9 1 9 9 1 9 plane 0\n'
    (labels / 'a.txt').write_text('imagesource:synthetic\ngsd:0.2\n' + boxes)
    (labels / 'b.txt').write_text('')
    copy = tmp_path / benchmark.without_heads(tmp_path, 'train/labelTxt/')
    assert copy == tmp_path / 'train' / 'boxes'
    assert (copy / 'a.txt').read_text() == boxes
    assert (copy / 'b.txt').read_text() == ''


@pytest.mark.parametrize('name', benchmark.DETECTORS)
def test_its_detector_has_our_backbone_and_anchors_and_its_own_head(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec('mmrotate') is None:
        pytest.skip('onedl-mmrotate is not installed')
    config = load_config(benchmark.DETECTORS[name][0])
    for part in ('train', 'val', 'test'):  # labels are copied into the data
        folder = tmp_path / config[f'{part}_dataloader'].dataset.ann_file
        folder.mkdir(parents=True, exist_ok=True)
        config[f'{part}_dataloader'].dataset.data_root = f'{tmp_path}/'
    config.work_dir = 'ours'
    file = benchmark.write_settings(config, name, tmp_path / 'handed')
    assert pickle.loads(file.read_bytes())['name'] == name
    done = subprocess.run([sys.executable, '-c', BUILD, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split('\n')[-2] == 'ours True False'


def test_a_row_of_the_table() -> None:
    run = {'AP50': 0.5, 'AP75': 0.25, 'mAP': 0.3}
    row = {'ours': [run, {key: value + 0.1 for key, value in run.items()}], 'mmrotate': [run]}
    text = benchmark.line('s2anet', {**row, 'ms_per_step': {'ours': 100.4, 'mmrotate': 250.0}})
    assert 'ours: AP50  55.0  AP75  30.0  mAP  35.0  100 ms a step' in text
    assert 'mmrotate: AP50  50.0  AP75  25.0  mAP  30.0  250 ms a step' in text
