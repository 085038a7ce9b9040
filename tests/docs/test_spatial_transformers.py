"""The snippets of docs/spatial_transformers.md run, one after the other, and its picture can be drawn."""

import runpy
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / 'docs'


def test_snippets_run(run_snippets) -> None:
    assert run_snippets('spatial_transformers.md') == 3


def test_picture_script_draws_a_picture(tmp_path: Path) -> None:
    script = runpy.run_path(str(DOCS / 'make_warps_picture.py'))
    script['draw'](tmp_path / 'picture.jpg')
    assert (tmp_path / 'picture.jpg').read_bytes()[:2] == b'\xff\xd8'
    assert (tmp_path / 'picture.jpg').stat().st_size > 20_000
