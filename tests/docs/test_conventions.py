"""Every snippet of docs/conventions.md runs, and the page is complete."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / 'docs'
PAGE = DOCS / 'conventions.md'
TEXT = PAGE.read_text(encoding='utf-8')


def _snippets() -> list:
    """Python blocks of the page, named by their heading and their number below it."""
    cases, heading, count = [], '', 0
    for match in re.finditer(
        r'^## (?P<heading>[^\n]+)$|^```python\n(?P<code>.*?)^```$', TEXT, re.MULTILINE | re.DOTALL
    ):
        if match['heading']:
            heading, count = match['heading'], 0
            continue
        count += 1
        line = TEXT.count('\n', 0, match.start('code'))
        name = re.sub(r'[^a-z0-9]+', '-', heading.lower()).strip('-')
        cases.append(pytest.param(match['code'], line, id=f'{name}-{count}'))
    return cases


@pytest.mark.parametrize(('code', 'line'), _snippets())
def test_snippet_runs(code: str, line: int) -> None:
    # Blank lines in front, so that a traceback shows the line of the page.
    exec(compile('\n' * line + code, str(PAGE), 'exec'), {'__name__': 'conventions'})


def test_every_snippet_asserts_something() -> None:
    snippets = [case.values[0] for case in _snippets()]
    assert len(snippets) == TEXT.count('```python') >= 12
    assert all('assert ' in code for code in snippets)


def test_every_section_has_a_snippet() -> None:
    sections = re.split(r'^## ', TEXT, flags=re.MULTILINE)[1:]
    assert [section.splitlines()[0] for section in sections if '```python' not in section] == []


def test_links_of_the_page_exist() -> None:
    targets = re.findall(r'\]\((?!https?://)([^)#]+)', TEXT)
    assert targets == ['images/conventions.png']
    assert [target for target in targets if not (DOCS / target).is_file()] == []


def test_picture_script_draws_a_picture(tmp_path: Path) -> None:
    import runpy

    script = runpy.run_path(str(DOCS / 'make_conventions_picture.py'))
    script['draw'](tmp_path / 'picture.png')
    assert (tmp_path / 'picture.png').read_bytes()[:8] == b'\x89PNG\r\n\x1a\n'
    assert (tmp_path / 'picture.png').stat().st_size > 20_000
