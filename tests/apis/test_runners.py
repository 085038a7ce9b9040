"""A config made ready for mmengine's runner."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.visualization import Visualizer
from torch.utils.data import DataLoader

from stn_det.apis.runners import (
    _rename_visualizer,
    add_progress_bar,
    set_amp,
    set_launcher,
    set_work_dir,
    stop_workers,
)
from stn_det.apis.testing import _use_test_time_augmentation, test
from stn_det.apis.training import _scale_learning_rate, _set_resume
from stn_det.errors import ConfigError, InputError


def test_the_argument_wins_over_the_config_and_that_over_the_name(tmp_path: Path) -> None:
    assert set_work_dir(Config({'work_dir': 'own'}), 'given') == Path('given')
    assert set_work_dir(Config({'work_dir': 'own'}), None) == Path('own')
    (tmp_path / 'some_name.py').touch()
    assert set_work_dir(Config({}, filename=str(tmp_path / 'some_name.py')), None) == Path('work_dirs/some_name')


def test_mixed_precision_by_device() -> None:
    cpu, gpu = (Config(dict(optim_wrapper=dict(type='OptimWrapper', optimizer=dict(lr=1)))) for _ in range(2))
    gpu.optim_wrapper.dtype = 'bfloat16'  # as the configs for a CPU have it
    set_amp(cpu, torch.device('cpu'))
    set_amp(gpu, torch.device('cuda'))
    assert (cpu.optim_wrapper.type, cpu.optim_wrapper.dtype) == ('AutocastOptimWrapper', 'bfloat16')
    assert (gpu.optim_wrapper.type, gpu.optim_wrapper.loss_scale) == ('AmpOptimWrapper', 'dynamic')
    assert gpu.optim_wrapper.dtype == 'float16'


def test_an_unknown_launcher_is_refused() -> None:
    with pytest.raises(InputError, match="launcher is 'ssh'; expected one of none, pytorch, slurm, mpi"):
        set_launcher(Config({}), 'ssh')


def test_one_progress_bar() -> None:
    cfg = Config({})
    add_progress_bar(cfg, False)
    assert 'custom_hooks' not in cfg
    add_progress_bar(cfg, True)
    add_progress_bar(cfg, True)
    assert [hook.type for hook in cfg.custom_hooks] == ['ProgressBarHook']


def test_a_second_run_gets_a_visualiser_of_its_own() -> None:
    Visualizer.get_instance('seen')
    Visualizer.get_instance('seen_2')
    cfg = Config(dict(visualizer=dict(name='seen')))
    _rename_visualizer(cfg)
    assert cfg.visualizer.name == 'seen_3'
    fresh = Config(dict(visualizer=dict(name='not_seen')))
    _rename_visualizer(fresh)
    assert fresh.visualizer.name == 'not_seen'


@pytest.mark.parametrize('resume', [True, 'auto'])
def test_resume_from_the_newest(resume: bool | str) -> None:
    cfg = Config(dict(resume=False, load_from='weights.pth'))
    _set_resume(cfg, resume)
    assert (cfg.resume, cfg.load_from) == (True, None)


def test_resume_from_a_file(tmp_path: Path) -> None:
    cfg = Config(dict(resume=False, load_from=None))
    file = tmp_path / 'epoch_3.pth'
    file.touch()
    _set_resume(cfg, file)
    assert (cfg.resume, cfg.load_from) == (True, str(file))
    with pytest.raises(InputError, match=r'checkpoint to resume from .* Did you mean epoch_3.pth'):
        _set_resume(cfg, tmp_path / 'epoch_4.pth')


def test_a_config_without_resume_keeps_its_weights() -> None:
    cfg = Config(dict(resume=False, load_from='weights.pth'))
    _set_resume(cfg, False)
    assert (cfg.resume, cfg.load_from) == (False, 'weights.pth')


def test_scaling_the_learning_rate_needs_the_config() -> None:
    with pytest.raises(ConfigError, match=r'has no auto_scale_lr.base_batch_size'):
        _scale_learning_rate(Config(dict(auto_scale_lr=dict(enable=False))))
    cfg = Config(dict(auto_scale_lr=dict(enable=False, base_batch_size=8)))
    _scale_learning_rate(cfg)
    assert cfg.auto_scale_lr.enable


def test_test_time_augmentation_needs_the_config() -> None:
    with pytest.raises(ConfigError, match='has no tta_model and no tta_pipeline, which --tta needs'):
        _use_test_time_augmentation(Config(dict(model=dict(type='A'))))
    loader = dict(dataset=dict(pipeline=[]))
    cfg = Config(dict(model=dict(type='A'), tta_model=dict(type='T'), tta_pipeline=[1], test_dataloader=loader))
    _use_test_time_augmentation(cfg)
    assert cfg.model == dict(type='T', module=dict(type='A'))
    assert cfg.test_dataloader.dataset.pipeline == [1]


def test_an_output_of_unknown_kind_is_refused_before_anything_runs() -> None:
    with pytest.raises(InputError, match=r'out is figures.csv; expected a name ending in .json'):
        test('no_such_config.py', 'no_such_checkpoint.pth', out='figures.csv')


@pytest.mark.parametrize('endless', [False, True], ids=['by-epoch', 'by-iteration'])
def test_stop_workers_ends_the_processes_of_persistent_loaders(endless: bool) -> None:
    from mmengine.runner.loops import _InfiniteDataloaderIterator

    loader = DataLoader(list(range(4)), num_workers=1, persistent_workers=True)
    loop = SimpleNamespace(dataloader=loader)
    if endless:
        loop.dataloader_iterator = _InfiniteDataloaderIterator(loader)
        next(loop.dataloader_iterator)
    else:
        list(loader)
    workers = list(loader._iterator._workers)
    assert all(worker.is_alive() for worker in workers)
    stop_workers(SimpleNamespace(_train_loop=loop, _val_loop=None, _test_loop={'type': 'TestLoop'}))
    assert not any(worker.is_alive() for worker in workers)
    assert sorted(int(value) for batch in loader for value in batch) == [0, 1, 2, 3], 'the loader can start again'
