"""The snippets of docs/pairs.md run, one after the other, and its picture can be drawn."""

import runpy
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / 'docs'


def test_snippets_run(run_snippets, tmp_path: Path, monkeypatch) -> None:
    from mmengine.registry import DefaultScope

    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    with DefaultScope.overwrite_default_scope('mmdet'):
        assert run_snippets('pairs.md') == 6


def test_picture_script_draws_a_picture(tmp_path: Path) -> None:
    script = runpy.run_path(str(DOCS / 'make_pairs_picture.py'))
    script['draw'](tmp_path / 'picture.jpg')
    assert (tmp_path / 'picture.jpg').read_bytes()[:2] == b'\xff\xd8'
    assert (tmp_path / 'picture.jpg').stat().st_size > 20_000
