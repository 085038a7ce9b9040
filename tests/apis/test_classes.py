"""The check that checkpoint, dataset and head agree about classes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from stn_det.apis.classes import check_classes, checkpoint_classes, config_classes, load_checkpoint_file
from stn_det.errors import ClassMismatchError, ConfigError, InputError


def config(classes: tuple[str, ...] = ('plane', 'ship'), num_classes: int | None = None) -> Config:
    dataset = dict(type='RepeatDataset', times=2, dataset=dict(type='DOTADataset', metainfo=dict(classes=classes)))
    head = dict(type='Head', num_classes=len(classes) if num_classes is None else num_classes)
    return Config(dict(test_dataloader=dict(dataset=dataset), model=dict(bbox_head=head)))


def content(*classes: str) -> dict[str, Any]:
    return {'meta': {'dataset_meta': {'classes': classes}}, 'state_dict': {}}


def test_config_classes_look_inside_wrappers() -> None:
    assert config_classes(config()) == ('plane', 'ship')


def test_config_without_loader_is_refused() -> None:
    with pytest.raises(ConfigError, match='has no val_dataloader'):
        config_classes(config(), 'val')


@pytest.mark.parametrize(
    ('stored', 'expected'),
    [
        ({'meta': {'dataset_meta': {'classes': ('a', 'b')}}}, ('a', 'b')),
        ({'meta': {'dataset_meta': {'CLASSES': ['a']}}}, ('a',)),
        ({'meta': {'CLASSES': ('a', 'b')}}, ('a', 'b')),
        ({'meta': {'dataset_meta': {'classes': 'a'}}}, ('a',)),
        ({'meta': {}}, None),
        ({'state_dict': {}}, None),
    ],
)
def test_checkpoint_classes(stored: dict[str, Any], expected: tuple[str, ...] | None) -> None:
    assert checkpoint_classes(stored) == expected


def test_a_detector_within_another_is_found() -> None:
    cfg = config(num_classes=15)
    cfg.model = dict(type='TwoStreamDetector', detector=cfg.model)
    with pytest.raises(ClassMismatchError, match='num_classes=15'):
        check_classes(cfg, content('plane', 'ship'), 'a.pth')


def test_equal_classes_pass() -> None:
    check_classes(config(), content('plane', 'ship'), 'a.pth')


def test_a_checkpoint_without_classes_passes() -> None:
    check_classes(config(), {'state_dict': {}}, 'a.pth')


@pytest.mark.parametrize(
    ('stored', 'message'),
    [
        (('plane', 'boat'), 'only the checkpoint has boat; only the config has ship'),
        (('plane',), 'only the config has ship'),
        (('plane', 'ship', 'tank'), 'only the checkpoint has tank'),
        (('ship', 'plane'), 'same names in another order, first at 0: ship against plane'),
        (('plane', 'ship', 'ship'), 'the checkpoint has 3, the config 2'),
    ],
)
def test_the_difference_is_named(stored: tuple[str, ...], message: str) -> None:
    with pytest.raises(ClassMismatchError, match=message):
        check_classes(config(), content(*stored), 'a.pth')


def test_a_head_of_another_size_is_refused() -> None:
    with pytest.raises(ClassMismatchError, match=r'Head of the config has num_classes=15, but its test dataset has 2'):
        check_classes(config(num_classes=15), content('plane', 'ship'), 'a.pth')


def test_a_checkpoint_is_read(tmp_path: Path) -> None:
    file = tmp_path / 'a.pth'
    torch.save({'state_dict': {'w': torch.arange(3)}, 'meta': {'dataset_meta': {'classes': ('a',)}}}, file)
    loaded = load_checkpoint_file(file)
    assert loaded['state_dict']['w'].tolist() == [0, 1, 2]
    assert checkpoint_classes(loaded) == ('a',)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    file = tmp_path / 'a.pth'
    file.write_text('no weights')
    with pytest.raises(InputError, match=r'checkpoint .*a.pth cannot be read'):
        load_checkpoint_file(file)


def test_a_checkpoint_that_is_a_tensor_is_refused(tmp_path: Path) -> None:
    file = tmp_path / 'a.pth'
    torch.save(torch.zeros(2), file)
    with pytest.raises(InputError, match=r'holds a Tensor; expected a dictionary'):
        load_checkpoint_file(file)
