"""The snippets of docs/losses.md run, one after the other, and its picture can be drawn."""

import runpy
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / 'docs'


def test_snippets_run(run_snippets) -> None:
    assert run_snippets('losses.md') == 7


def test_picture_script_draws_a_picture(tmp_path: Path) -> None:
    script = runpy.run_path(str(DOCS / 'make_losses_picture.py'))
    script['draw'](tmp_path / 'picture.png')
    assert (tmp_path / 'picture.png').read_bytes()[:4] == b'\x89PNG'
    assert (tmp_path / 'picture.png').stat().st_size > 50_000
