"""Suggestions for mistyped names and files."""

from pathlib import Path

import pytest

from stn_det.apis.suggest import did_you_mean, require_file
from stn_det.errors import InputError


@pytest.mark.parametrize(
    ('word', 'choices', 'sentence'),
    [
        ('trian', ['train', 'test'], ' Did you mean train?'),
        ('Plane', ['plane', 'ship'], ' Did you mean plane?'),
        ('vehicle', ['large-vehicle', 'small-vehicle'], ' Did you mean small-vehicle or large-vehicle?'),
        ('xyz', ['plane', 'ship'], ''),
        ('plane', [], ''),
    ],
)
def test_did_you_mean(word: str, choices: list[str], sentence: str) -> None:
    assert did_you_mean(word, choices) == sentence


def test_require_file_returns_a_file(tmp_path: Path) -> None:
    file = tmp_path / 'epoch_12.pth'
    file.touch()
    assert require_file(str(file), 'checkpoint') == file


def test_require_file_names_the_neighbour(tmp_path: Path) -> None:
    (tmp_path / 'epoch_12.pth').touch()
    with pytest.raises(InputError, match=r'checkpoint .*epoch_21.pth does not exist. Did you mean epoch_12.pth\?'):
        require_file(tmp_path / 'epoch_21.pth', 'checkpoint')


def test_require_file_names_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'there is no folder .*absent'):
        require_file(tmp_path / 'absent' / 'a.png', 'image')


def test_require_file_refuses_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='is a folder; expected a file'):
        require_file(tmp_path, 'image')
