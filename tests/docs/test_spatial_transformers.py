"""The snippets of docs/spatial_transformers.md run, one after the other, and its picture can be drawn."""

import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest

DOCS = Path(__file__).resolve().parents[2] / 'docs'


def test_snippets_run(run_snippets) -> None:
    assert run_snippets('spatial_transformers.md') == 3


def test_picture_script_draws_a_picture(tmp_path: Path) -> None:
    script = runpy.run_path(str(DOCS / 'make_warps_picture.py'))
    script['draw'](tmp_path / 'picture.jpg')
    assert (tmp_path / 'picture.jpg').read_bytes()[:2] == b'\xff\xd8'
    assert (tmp_path / 'picture.jpg').stat().st_size > 20_000


def test_pictures_over_a_training_are_stacked(tmp_path: Path) -> None:
    script = runpy.run_path(str(DOCS / 'make_training_picture.py'))
    for epoch, grey in ((0, 60), (4, 120)):
        picture = np.full((206, 300, 3), 255, np.uint8)
        picture[:100], picture[106:] = 30, grey
        cv2.imwrite(str(tmp_path / f'epoch_{epoch}.jpg'), picture)
    found = script['rows'](tmp_path, [0, 4])
    assert [abs(int(np.median(row)) - grey) <= 2 for row, grey in zip(found, (30, 60, 120), strict=True)] == [True] * 3
    with pytest.raises(SystemExit, match=r'epoch_7\.jpg is no picture'):
        script['rows'](tmp_path, [7])
