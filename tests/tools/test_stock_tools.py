"""mmdet's own, unmodified tools run our configs: training, resuming, testing, in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mmdet
import pytest

DEMO = 'oriented_point/oriented-point-le90_mobilenetv2_fpn_demo_scenes.py'
STOCK = Path(mmdet.__file__).parent / '.mim' / 'tools'
OURS = Path(__file__).resolve().parents[2] / 'tools'


def run_tool(script: Path, *arguments: str | Path, folder: Path, through_package: bool = False) -> str:
    """Output of a tool that has to succeed, started by its path or by ``python -m stn_det``."""
    start = [sys.executable, '-m', 'stn_det'] if through_package else [sys.executable]
    command = [*start, str(script), *map(str, arguments)]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, (run.stdout + run.stderr)[-4000:]
    return run.stdout + run.stderr


@pytest.fixture(scope='module')
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: a few scenes, and a config that shrinks the demo's to ten iterations of two small images."""
    from stn_det.apis import find_config, load_config
    from stn_det.datasets.scenes import SceneConfig, write_scenes

    folder = tmp_path_factory.mktemp('project')
    settings = SceneConfig(size=(256, 256))
    write_scenes(folder / 'data' / 'train', 12, settings, seed=0, workers=1, progress=False)
    write_scenes(folder / 'data' / 'val', 2, settings, seed=1, workers=1, progress=False)
    name = f'stn_det::{DEMO}'
    loaders = {}
    for split, loader in ((key, load_config(name)[f'{key}_dataloader'].to_dict()) for key in ('train', 'val', 'test')):
        pipeline = loader['dataset']['pipeline']
        for step in pipeline:
            step.update(dict(scale=(256, 256)) if step['type'] == 'Resize' else {})
        dataset = dict(data_root='data/', pipeline=pipeline)
        loaders[split] = dict(num_workers=0, persistent_workers=False, dataset=dataset)
    # Scenes without objects are left out; an endless sampler keeps the number of iterations.
    loaders['train'].update(batch_size=2, sampler=dict(type='InfiniteSampler', shuffle=True))
    changes = ''.join(f'{split}_dataloader = {loader!r}\n' for split, loader in loaders.items()) + (
        'model = dict(backbone=dict(init_cfg=None))\n'
        "train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=10, val_interval=10)\n"
        'param_scheduler = []\n'
        "default_hooks = dict(checkpoint=dict(_delete_=True, type='CheckpointHook', interval=5, by_epoch=False))\n"
        'log_processor = dict(by_epoch=False)\n'
    )
    # A stock tool needs the file; ours also take the name, which marks what is inherited with the scope stn_det.
    (folder / 'small.py').write_text(f'_base_ = {str(find_config(name).resolve())!r}\n{changes}')
    (folder / 'ours.py').write_text(f'_base_ = {name!r}\n{changes}')
    return folder


def logged(work_dir: Path) -> list[dict]:
    """Training lines of the newest log of a work directory."""
    newest = sorted(work_dir.glob('*/vis_data/scalars.json'))[-1]
    return [json.loads(line) for line in newest.read_text().splitlines()]


def test_train_resume_and_test(project: Path) -> None:
    log = ('--cfg-options', 'default_hooks.logger.interval=1')
    run_tool(STOCK / 'train.py', 'small.py', '--work-dir', 'run', *log, folder=project)
    losses = [line['loss'] for line in logged(project / 'run') if 'loss' in line]
    assert len(losses) == 10
    assert all(0 < loss < 1e4 for loss in losses)
    assert {path.name for path in (project / 'run').glob('*.pth')} == {'iter_5.pth', 'iter_10.pth'}

    resume = ('--resume', *log, 'train_cfg.max_iters=14')
    output = run_tool(STOCK / 'train.py', 'small.py', '--work-dir', 'run', *resume, folder=project)
    assert 'iter_10.pth' in output
    assert [line['step'] for line in logged(project / 'run') if 'loss' in line] == [11, 12, 13, 14]

    # mmdet's test.py imports mmcv's operators before it reads the config.
    arguments = ('small.py', 'run/iter_10.pth', '--work-dir')
    run_tool(STOCK / 'test.py', *arguments, 'stock', folder=project, through_package=True)
    stock = json.loads(next((project / 'stock').glob('*/*.json')).read_text())
    figures = {name: value for name, value in stock.items() if name.startswith('dota/')}
    assert {'dota/AP50', 'dota/AP75', 'dota/mAP'} <= set(figures)
    assert all(value != value or 0 <= value <= 1 for value in figures.values())

    arguments = ('ours.py', 'run/iter_10.pth', '--work-dir')
    output = run_tool(OURS / 'test.py', *arguments, 'ours', '--out', 'metrics.json', folder=project)
    ours = json.loads((project / 'metrics.json').read_text())
    assert {name: value for name, value in ours.items() if name in figures} == pytest.approx(figures, nan_ok=True)
    assert 'dota/AP50' in output
    assert 'unexpected failure' not in output  # mmengine's words for a scope without a registry


def test_a_child_of_a_packaged_config_runs_in_a_stock_tool(project: Path) -> None:
    (project / 'child.py').write_text(f"_base_ = 'stn_det::{DEMO}'\n")
    printer = STOCK / 'misc' / 'print_config.py'
    output = run_tool(printer, 'child.py', folder=project, through_package=True)
    assert 'num_classes=6' in output.replace(' ', '')
