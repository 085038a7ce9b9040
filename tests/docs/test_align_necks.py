"""The snippets of docs/align_necks.md run, one after the other."""

import re
from pathlib import Path

from mmdet.registry import MODELS

import stn_det.register  # noqa: F401  before the registry is replaced for a while, or what it registers is lost

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'align_necks.md'
SNIPPETS = list(re.finditer(r'^```python\n(.*?)^```$', PAGE.read_text(encoding='utf-8'), re.MULTILINE | re.DOTALL))


def test_snippets_run(monkeypatch) -> None:
    monkeypatch.setattr(MODELS, '_module_dict', dict(MODELS.module_dict))  # the page registers a class of its own
    names: dict = {'__name__': 'align_necks'}
    for snippet in SNIPPETS:
        assert 'assert ' in snippet[1]
        # Blank lines in front, so that a traceback shows the line of the page.
        lines = snippet.string.count('\n', 0, snippet.start(1))
        exec(compile('\n' * lines + snippet[1], str(PAGE), 'exec'), names)
    assert len(SNIPPETS) == 4
