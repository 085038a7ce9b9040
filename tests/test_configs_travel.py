"""Configs of this package reached from elsewhere: by ``stn_det::`` names, from a fresh process, with plain mmengine."""

import subprocess
import sys
from pathlib import Path

import pytest

from stn_det.apis import find_config, list_configs, load_config
from stn_det.errors import ConfigError

DEMO = 'oriented_point/oriented-point-le90_mobilenetv2_fpn_demo_scenes.py'


def run_python(code: str, folder: Path) -> str:
    """Output of a fresh interpreter, started away from the checkout."""
    run = subprocess.run([sys.executable, '-c', code], cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.parametrize('name', list_configs())
def test_each_shipped_config_loads(name: str) -> None:
    cfg = load_config(f'stn_det::{name}')
    assert cfg.model.type
    assert cfg.default_scope == 'mmdet'
    assert 'stn_det.register' in cfg.custom_imports.imports


def test_a_child_inherits_by_package_name(tmp_path: Path) -> None:
    child = tmp_path / 'child.py'
    child.write_text(f"_base_ = 'stn_det::{DEMO}'\ntrain_cfg = dict(max_epochs=3)\n")
    parent, cfg = load_config(f'stn_det::{DEMO}'), load_config(child)
    assert cfg.train_cfg.max_epochs == 3
    assert cfg.model.bbox_head.type == parent.model.bbox_head.type


def test_what_a_child_inherits_can_be_built(tmp_path: Path) -> None:
    # mmengine marks inherited parts with the scope stn_det; a registry of that scope must answer.
    from mmengine.registry import HOOKS, MODELS, init_default_scope

    child = tmp_path / 'child.py'
    child.write_text(f"_base_ = 'stn_det::{DEMO}'\n")
    cfg = load_config(child)
    init_default_scope('mmdet')
    cfg.model.backbone.init_cfg = None
    assert cfg.model['_scope_'] == 'stn_det'
    assert type(MODELS.build(cfg.model)).__module__.startswith(('mmdet.', 'stn_det.'))
    assert type(HOOKS.build(dict(type='FiniteLossHook', _scope_='stn_det'))).__module__.startswith('stn_det.')


def test_plain_mmengine_reads_a_child_that_names_the_registry(tmp_path: Path) -> None:
    # What docs/config.md gives for tools that know nothing of this package.
    child = tmp_path / 'child.py'
    child.write_text(f"_base_ = __import__('stn_det.registry') and 'stn_det::{DEMO}'\n")
    code = "from mmengine.config import Config; print(Config.fromfile('child.py').model.bbox_head.num_classes)"
    assert run_python(code, tmp_path).splitlines()[-1] == '6'


def test_the_registry_is_light(tmp_path: Path) -> None:
    # It is imported while a config is parsed, before the bridge stands: nothing in it may reach for mmcv's operators.
    code = "import sys, stn_det.registry; print('mmcv.ops' in sys.modules, 'mmdet.models' in sys.modules)"
    assert run_python(code, tmp_path) == 'False False'


def test_names_of_other_packages_work() -> None:
    path = find_config('mmdet::_base_/default_runtime.py')
    assert path.parts[-4:] == ('.mim', 'configs', '_base_', 'default_runtime.py')


def test_a_bare_name_finds_the_shipped_config() -> None:
    stem = Path(DEMO).stem
    assert find_config(stem) == find_config(Path(DEMO).name) == find_config(DEMO) == find_config(f'stn_det::{DEMO}')


def test_a_local_file_wins_over_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / Path(DEMO).name).write_text('x = 1\n')
    monkeypatch.chdir(tmp_path)
    assert load_config(Path(DEMO).name).x == 1


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('oriented-point-le90_mobilenetv2_fpn_demo_scene', 'Did you mean .*demo_scenes.py'),
        ('stn_det::oriented_point/oriented-point-le90_mobilenetv2_fpn_demo.py', 'Did you mean .*demo_scenes.py'),
        ('stn_dot::a/b.py', "names package 'stn_dot'.*Did you mean stn_det"),
        ('nowhere/at_all.py', "'nowhere/at_all.py' is neither a file nor the name of a shipped config"),
    ],
)
def test_an_unknown_config_is_named(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_config(name)


def test_a_broken_config_is_a_config_error(tmp_path: Path) -> None:
    broken = tmp_path / 'broken.py'
    broken.write_text('model = dict(\n')
    with pytest.raises(ConfigError, match=r'broken.py cannot be loaded: SyntaxError'):
        load_config(broken)


def test_a_missing_base_is_a_config_error(tmp_path: Path) -> None:
    child = tmp_path / 'child.py'
    child.write_text("_base_ = './absent.py'\n")
    with pytest.raises(ConfigError, match=r'child.py cannot be loaded: FileNotFoundError.*absent.py'):
        load_config(child)


def test_a_loaded_config_is_copied() -> None:
    cfg = load_config(f'stn_det::{DEMO}')
    changed = load_config(cfg, {'train_cfg.max_epochs': 99})
    assert (changed.train_cfg.max_epochs, changed.filename) == (99, cfg.filename)
    assert cfg.train_cfg.max_epochs != 99
