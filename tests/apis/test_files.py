"""Result files are whole or absent."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from stn_det.apis.files import write_json, write_text


def test_values_of_numpy_and_torch_become_plain(tmp_path: Path) -> None:
    value = {'a': np.float32(0.5), 'b': torch.tensor([1, 2]), 'c': Path('x') / 'y', 'd': np.arange(2)}
    file = write_json(tmp_path / 'new' / 'folder' / 'a.json', value)
    assert json.loads(file.read_text()) == {'a': 0.5, 'b': [1, 2], 'c': 'x/y', 'd': [0, 1]}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = write_json(tmp_path / 'a.json', {'a': 1})
    with pytest.raises(TypeError, match='cannot write object'):
        write_json(file, {'a': object()})
    assert json.loads(file.read_text()) == {'a': 1}
    assert [path.name for path in tmp_path.iterdir()] == ['a.json']


def test_a_file_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / 'a.txt'
    write_text(file, 'long content')
    write_text(file, 'new')
    assert file.read_text() == 'new'
