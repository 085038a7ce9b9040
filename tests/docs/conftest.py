"""Running the snippets of a page."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / 'docs'


@pytest.fixture
def run_snippets() -> Callable[[str], int]:
    """Run the Python blocks of a page one after the other, in one scope; returns their number."""

    def run(page: str) -> int:
        path = DOCS / page
        snippets = list(re.finditer(r'^```python\n(.*?)^```$', path.read_text('utf-8'), re.MULTILINE | re.DOTALL))
        names: dict = {'__name__': path.stem}
        for snippet in snippets:
            assert 'assert ' in snippet[1]
            # Blank lines in front, so that a traceback shows the line of the page.
            lines = snippet.string.count('\n', 0, snippet.start(1))
            exec(compile('\n' * lines + snippet[1], str(path), 'exec'), names)
        return len(snippets)

    return run
