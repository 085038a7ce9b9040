"""The command that writes scenes."""

import importlib.util

import pytest


@pytest.fixture
def tool(repository):
    spec = importlib.util.spec_from_file_location('make_scenes', repository / 'tools' / 'data' / 'make_scenes.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_writes_and_prints_the_folder(tool, tmp_path, capsys):
    out = tmp_path / 'set'
    arguments = [str(out), '--num-images', '2', '--workers', '1', '--size', '96', '80', '--kinds', 'sea', '--quiet']
    assert tool.main(arguments) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert sorted(path.name for path in (out / 'images').iterdir()) == ['P00000.png', 'P00001.png']


def test_a_wrong_setting_is_an_error_of_one_line(tool, tmp_path, capsys):
    assert tool.main([str(tmp_path / 'set'), '--gsd', '0.5', '0.1']) == 2
    assert capsys.readouterr().err.startswith('error: gsd is [0.5, 0.1]; expected (low, high)')
    assert not (tmp_path / 'set').exists()
