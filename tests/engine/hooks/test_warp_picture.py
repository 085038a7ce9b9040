"""Pictures of a spatial transformer at work; what they show is tested with the drawing."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from torch import nn

from stn_det.engine import WarpPictureHook
from stn_det.engine.hooks import warp_picture
from stn_det.errors import ConfigError


@pytest.fixture
def drawn(monkeypatch):
    """Arguments of the drawings."""
    calls = []

    def draw(*arguments):
        calls.append(arguments)
        return np.zeros((126, 90, 3), np.uint8)

    monkeypatch.setattr(warp_picture, 'draw_transformer', draw)
    return calls


def make_runner(tmp_path, val=None):
    loops = [
        None if data is None else SimpleNamespace(dataloader=SimpleNamespace(dataset=data)) for data in (val, 'train')
    ]
    model = nn.Module()
    model.transformer = nn.Identity()
    return SimpleNamespace(model=model, val_loop=loops[0], train_loop=loops[1], work_dir=str(tmp_path), epoch=0)


def test_one_file_at_the_start_and_one_each_interval(tmp_path, drawn):
    runner = make_runner(tmp_path, 'validation')
    hook = WarpPictureHook(num_images=3, turns=(0, 30), interval=2, lines=5)
    hook.before_train(runner)
    for runner.epoch in range(4):
        hook.after_train_epoch(runner)
    files = sorted((tmp_path / 'warps').iterdir())
    assert [file.name for file in files] == ['epoch_0.jpg', 'epoch_2.jpg', 'epoch_4.jpg']
    assert cv2.imread(str(files[0])).shape == (126, 90, 3)
    assert drawn == [(runner.model, ['v', 'a', 'l'], (0, 30), 5)] * 3


def test_training_images_where_there_is_no_validation(tmp_path, drawn):
    WarpPictureHook(num_images=50).before_train(make_runner(tmp_path))
    assert drawn[0][1] == list('train')


def test_a_resumed_run_keeps_its_first_picture(tmp_path, drawn):
    runner = make_runner(tmp_path)
    runner.epoch = 3
    WarpPictureHook().before_train(runner)
    assert not drawn
    assert not (tmp_path / 'warps').exists()


def test_errors(tmp_path):
    with pytest.raises(ConfigError, match='an image, a turn and an epoch'):
        WarpPictureHook(turns=())
    runner = make_runner(tmp_path)
    runner.model = nn.Linear(1, 1)
    with pytest.raises(ConfigError, match='Linear has no transformer'):
        WarpPictureHook().before_train(runner)
