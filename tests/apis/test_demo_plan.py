"""Sizes of the demo, its record of finished phases, and its changes to the config."""

import json
import time
from pathlib import Path

import pytest
from mmengine.config import Config

from stn_det.apis.demo_plan import DemoPlan, Progress, set_data_root, set_image_size, set_schedule
from stn_det.errors import InputError


def test_numbers_replace_those_of_the_plan() -> None:
    plan = DemoPlan.make(quick=True, seed=3, images=40, epochs=5)
    assert (plan.train_images, plan.val_images, plan.epochs, plan.seed) == (40, 10, 5, 3)
    full, quick = (DemoPlan.make(quick, 0, None, None) for quick in (False, True))
    assert full.train_images > quick.train_images
    assert full.epochs > quick.epochs


@pytest.mark.parametrize(
    ('numbers', 'message'),
    [((0, 0, None), 'images is 0'), ((0, None, -1), 'epochs is -1'), ((-1, None, None), 'seed is -1')],
)
def test_useless_numbers_are_refused(numbers: tuple[int, int | None, int | None], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DemoPlan.make(True, *numbers)


def test_phases_are_kept(tmp_path: Path) -> None:
    plan = DemoPlan.make(True, 0, None, None)
    with Progress(tmp_path, plan).phase('scenes'):
        pass
    again = Progress(tmp_path, plan)
    assert again.done == ['scenes']
    assert set(json.loads(again.path.read_text())) == {'plan', 'seconds', 'done'}


def test_an_interrupted_phase_is_timed_but_not_done(tmp_path: Path) -> None:
    plan = DemoPlan.make(True, 0, None, None)
    with pytest.raises(KeyboardInterrupt), Progress(tmp_path, plan).phase('train'):
        raise KeyboardInterrupt
    again = Progress(tmp_path, plan)
    assert again.done == []
    assert again.seconds['train'] >= 0


def test_repeating_a_finished_phase_keeps_its_time(tmp_path: Path) -> None:
    progress = Progress(tmp_path, DemoPlan.make(True, 0, None, None))
    with progress.phase('draw'):
        time.sleep(0.02)
    before = progress.seconds['draw']
    with progress.phase('draw'):
        time.sleep(0.02)
    assert progress.seconds['draw'] == before > 0


def test_another_plan_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with Progress(tmp_path, DemoPlan.make(True, 0, None, None)).phase('scenes'):
        pass
    with pytest.raises(InputError, match=r'holds a demo with seed 0 instead of 1. Give another --work-dir'):
        Progress(tmp_path, DemoPlan.make(True, 1, None, None))


def test_a_folder_with_scenes_of_an_older_generator_is_refused(tmp_path: Path) -> None:
    plan = DemoPlan.make(True, 0, None, None)
    with Progress(tmp_path, plan).phase('scenes'):
        pass
    path = tmp_path / 'progress.json'
    stored = json.loads(path.read_text())
    del stored['plan']['generator_version']
    path.write_text(json.dumps(stored))
    with pytest.raises(InputError, match=r'generator_version None instead of \d'):
        Progress(tmp_path, plan)


def test_the_schedule_is_stretched() -> None:
    cfg = Config(
        dict(
            train_cfg=dict(max_epochs=12, val_interval=4),
            train_dataloader=dict(batch_size=4),
            param_scheduler=[
                dict(type='LinearLR', by_epoch=False, begin=0, end=100),
                dict(type='CosineAnnealingLR', begin=0, end=12, T_max=12, by_epoch=True),
                dict(type='MultiStepLR', by_epoch=True, milestones=[8, 11]),
            ],
        )
    )
    set_schedule(cfg, epochs=3, train_images=200)
    warm_up, cosine, steps = cfg.param_scheduler
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (3, 3)
    assert warm_up.end == 15  # a tenth of 3 x 50 iterations
    assert (cosine.begin, cosine.end, cosine.T_max) == (0, 3, 3)
    assert steps.milestones == [2, 3]


def test_a_long_schedule_keeps_its_warm_up() -> None:
    warm_up = dict(type='LinearLR', by_epoch=False, begin=0, end=100)
    cfg = Config(dict(train_cfg=dict(max_epochs=12), train_dataloader=dict(batch_size=4), param_scheduler=[warm_up]))
    set_schedule(cfg, epochs=12, train_images=400)
    assert cfg.param_scheduler[0].end == 100


def test_the_image_size_reaches_every_pipeline() -> None:
    pipeline = [dict(type='Load'), dict(type='Resize', scale=(512, 512), keep_ratio=True)]
    loaders = {f'{split}_dataloader': dict(dataset=dict(pipeline=pipeline)) for split in ('train', 'val', 'test')}
    cfg = Config(loaders)
    set_image_size(cfg, 256)
    for loader in loaders:
        assert cfg[loader].dataset.pipeline[1] == dict(type='Resize', scale=(256, 256), keep_ratio=True)


def test_the_data_root_reaches_wrapped_datasets() -> None:
    inner = dict(type='DOTADataset', data_root='elsewhere/')
    cfg = Config(
        dict(
            train_dataloader=dict(dataset=dict(type='RepeatDataset', dataset=dict(inner))),
            val_dataloader=dict(dataset=dict(inner)),
        )
    )
    set_data_root(cfg, Path('here/data'))
    assert cfg.train_dataloader.dataset.dataset.data_root == 'here/data/'
    assert cfg.val_dataloader.dataset.data_root == 'here/data/'
