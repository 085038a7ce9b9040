"""Overrides of config values."""

from typing import Any

import pytest
from mmengine.config import Config

from stn_det.apis.overrides import apply_options, parse_options
from stn_det.errors import ConfigError


def config() -> Config:
    return Config({'train_cfg': {'max_epochs': 12}, 'pipeline': [{'type': 'Load'}, {'type': 'Flip', 'prob': 0.5}]})


@pytest.mark.parametrize(
    ('item', 'key', 'value'),
    [
        ('a=1', 'a', 1),
        ('a.b=-1.5', 'a.b', -1.5),
        ('a=1e-3', 'a', 0.001),
        ('a=True', 'a', True),
        ('a=None', 'a', None),
        ('a=(3,4)', 'a', (3, 4)),
        ('a=[x,y]', 'a', ['x', 'y']),
        ('a=x,y', 'a', ['x', 'y']),
        ('a=k=v', 'a', 'k=v'),
        ('a="text"', 'a', 'text'),
        ('a=/path/to my/data', 'a', '/path/to my/data'),
    ],
)
def test_values(item: str, key: str, value: Any) -> None:
    parsed = parse_options([item])
    assert parsed == {key: value}
    assert type(parsed[key]) is type(value)


@pytest.mark.parametrize('item', ['max_epochs', '=3'])
def test_an_override_needs_key_and_value(item: str) -> None:
    with pytest.raises(ConfigError, match=f"override '{item}' is not of the form key=value"):
        parse_options([item])


def test_a_key_is_changed() -> None:
    cfg = config()
    apply_options(cfg, ['train_cfg.max_epochs=3', 'pipeline.1.prob=0'])
    assert cfg.train_cfg.max_epochs == 3
    assert cfg.pipeline[1].prob == 0
    assert cfg.pipeline[0].type == 'Load'


@pytest.mark.parametrize(
    ('key', 'message'),
    [
        ('train_cgf.max_epochs', "there is no key 'train_cgf'. Did you mean train_cfg?"),
        ('train_cfg.max_epoch', "no key 'max_epoch' in train_cfg. Did you mean max_epochs?.*--allow-new"),
        ('train_cfg.zzz', "no key 'zzz' in train_cfg. It has max_epochs"),
        ('train_cfg.max_epochs.x', 'train_cfg.max_epochs is 12, which has no keys'),
        ('pipeline.2.prob', "'2' is no index in pipeline, a list of 2"),
        ('pipeline.flip.prob', "'flip' is no index in pipeline"),
    ],
)
def test_an_unknown_key_is_refused(key: str, message: str) -> None:
    cfg = config()
    with pytest.raises(ConfigError, match=message.replace('?', r'\?')):
        apply_options(cfg, [f'{key}=1'])
    assert cfg.to_dict() == config().to_dict()


def test_a_new_key_is_added_when_allowed() -> None:
    cfg = config()
    apply_options(cfg, {'train_cfg.val_interval': 2}, allow_new=True)
    assert cfg.train_cfg == {'max_epochs': 12, 'val_interval': 2}
