"""The snippets of docs/pairs.md run, one after the other, and its picture can be drawn."""

import re
import runpy
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / 'docs'
PAGE = DOCS / 'pairs.md'
SNIPPETS = list(re.finditer(r'^```python\n(.*?)^```$', PAGE.read_text(encoding='utf-8'), re.MULTILINE | re.DOTALL))


def test_snippets_run(tmp_path: Path, monkeypatch) -> None:
    from mmengine.registry import DefaultScope

    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    names: dict = {'__name__': 'pairs'}
    with DefaultScope.overwrite_default_scope('mmdet'):
        for snippet in SNIPPETS:
            assert 'assert ' in snippet[1]
            # Blank lines in front, so that a traceback shows the line of the page.
            lines = snippet.string.count('\n', 0, snippet.start(1))
            exec(compile('\n' * lines + snippet[1], str(PAGE), 'exec'), names)
    assert len(SNIPPETS) == 6


def test_picture_script_draws_a_picture(tmp_path: Path) -> None:
    script = runpy.run_path(str(DOCS / 'make_pairs_picture.py'))
    script['draw'](tmp_path / 'picture.jpg')
    assert (tmp_path / 'picture.jpg').read_bytes()[:2] == b'\xff\xd8'
    assert (tmp_path / 'picture.jpg').stat().st_size > 20_000
