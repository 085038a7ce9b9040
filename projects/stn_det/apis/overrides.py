"""Overrides of config values from the command line, refused when they name a key that does not exist."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config, DictAction

from ..errors import ConfigError
from .suggest import did_you_mean


def parse_options(items: Sequence[str]) -> dict[str, Any]:
    """``['a.b=1', 'c=[1,2]']`` as ``{'a.b': 1, 'c': [1, 2]}``, with mmengine's rules for values.

    Raises:
        ConfigError: when an item has no ``=`` or no key.
    """
    for item in items:
        key, sign, _ = item.partition('=')
        if not sign or not key:
            raise ConfigError(
                f'override {item!r} is not of the form key=value, for example train_dataloader.batch_size=8.'
            )
    if not items:
        return {}
    parser = argparse.ArgumentParser()
    parser.add_argument('--options', nargs='+', action=DictAction)
    parsed: dict[str, Any] = {}
    for item in items:
        key, _, raw = item.partition('=')
        value = parser.parse_args([f'--options={item}']).options[key]
        # DictAction removes blanks, which would break the paths of people who have some in theirs.
        parsed[key] = raw.strip('\'"') if isinstance(value, str) else value
    return parsed


def apply_options(cfg: Config, options: Mapping[str, Any] | Sequence[str], allow_new: bool = False) -> None:
    """Merge overrides into ``cfg``.

    Args:
        cfg: changed in place.
        options: ``{'dotted.key': value}`` or ``['dotted.key=value', ...]``; a number steps into a list.
        allow_new: let a key be added that the config does not have.

    Raises:
        ConfigError: when a key does not exist and ``allow_new`` is false.
    """
    parsed = dict(options) if isinstance(options, Mapping) else parse_options(options)
    if not allow_new:
        for key in parsed:
            _check_key(cfg, key)
    if parsed:
        cfg.merge_from_dict(parsed, allow_list_keys=True)


def _check_key(cfg: Config, key: str) -> None:
    node: Any = cfg
    done: list[str] = []
    for part in key.split('.'):
        where = f' in {".".join(done)}' if done else ''
        if isinstance(node, (list, tuple)):
            if not part.isdecimal() or int(part) >= len(node):
                raise ConfigError(f'override {key!r}: {part!r} is no index{where}, a list of {len(node)}.')
            node = node[int(part)]
        elif isinstance(node, (Mapping, Config)):
            choices = [str(name) for name in node]
            if part not in choices:
                raise ConfigError(f'override {key!r}: there is no key {part!r}{where}.{_advice(part, done, choices)}')
            node = node[part]
        else:
            raise ConfigError(f'override {key!r}: {".".join(done)} is {node!r}, which has no keys.')
        done.append(part)


def _advice(part: str, done: list[str], choices: list[str]) -> str:
    hint = did_you_mean(part, choices)
    if not hint:
        hint = f' It has {", ".join(choices)}.' if done else ''
    return f'{hint} A key that is meant to be new needs --allow-new.'
