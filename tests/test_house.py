"""Rules of the house that no other tool checks."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / 'projects' / 'stn_det'
MAX_LINES = 450
# Folders of the machine a file was written on; paths below a placeholder such as /path/to are fine.
MACHINE_PATH = re.compile(r'(?<![\w.:/>])/(?:home|root|work|tmp|opt|Users|mnt|data\d*|scratch)/[\w.-]+')


def tracked_files() -> list[Path]:
    """Files under version control; in an unpacked archive, all files of the known folders."""
    run = subprocess.run(['git', 'ls-files', '-z'], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if run.returncode == 0:
        return [path for name in run.stdout.split('\0') if name and (path := REPOSITORY / name).is_file()]
    folders = ('projects', 'configs', 'tools', 'tests', 'docs')
    return [path for folder in folders for path in (REPOSITORY / folder).rglob('*') if path.is_file()]


def package_files() -> list[Path]:
    """Python files of the package."""
    return sorted(path for path in PACKAGE.rglob('*.py') if '.mim' not in path.parts)


def relative(path: Path) -> str:
    """Path as it is shown in messages."""
    return path.relative_to(REPOSITORY).as_posix()


def public_definitions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Public functions and classes of a module, and the public methods of its public classes."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not node.name.startswith('_'):
            yield node
            if isinstance(node, ast.ClassDef):
                methods = (item for item in node.body if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)))
                yield from (method for method in methods if not method.name.startswith('_'))


def undocumented(path: Path) -> list[str]:
    """Modules, public functions, classes and methods of a file without a docstring."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    found = [] if ast.get_docstring(tree) else [f'{relative(path)}: module']
    for node in public_definitions(tree):
        overrides = any(
            getattr(mark, 'attr', getattr(mark, 'id', '')) in ('overload', 'setter') for mark in _marks(node)
        )
        if not overrides and not ast.get_docstring(node):
            found.append(f'{relative(path)}:{node.lineno}: {node.name}')
    return found


def _marks(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> list[ast.expr]:
    return node.decorator_list


def test_no_file_is_too_long() -> None:
    sources = [path for path in tracked_files() if path.suffix in ('.py', '.cpp', '.cu', '.cuh', '.h', '.sh')]
    lengths = {relative(path): len(path.read_text(encoding='utf-8').splitlines()) for path in sources}
    assert lengths
    too_long = {name: lines for name, lines in lengths.items() if lines > MAX_LINES}
    assert not too_long


def test_no_assert_in_the_package() -> None:
    found = [
        f'{relative(path)}:{node.lineno}'
        for path in package_files()
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
        if isinstance(node, ast.Assert)
    ]
    assert not found, 'asserts vanish under python -O; raise a class of stn_det.errors: ' + ', '.join(found)


def test_everything_public_is_documented() -> None:
    found = [line for path in package_files() for line in undocumented(path)]
    assert not found, 'without docstring:\n' + '\n'.join(found)


def test_no_path_of_a_machine() -> None:
    found = []
    for path in tracked_files():
        if path == Path(__file__).resolve() or path.suffix in ('.png', '.jpg', '.tif', '.npz', '.pt', '.pth'):
            continue
        lines = path.read_text(encoding='utf-8', errors='ignore').splitlines()
        found += [
            f'{relative(path)}:{n}: {hit.group()}'
            for n, line in enumerate(lines, 1)
            if (hit := MACHINE_PATH.search(line))
        ]
    assert not found, '\n'.join(found)


@pytest.mark.parametrize('text', ['root = "/home/ann/data"', f'see /{"work"}/x', "open('/tmp/a.txt')", '-I /opt/lib'])
def test_a_path_of_a_machine_is_noticed(text: str) -> None:
    assert MACHINE_PATH.search(text)


@pytest.mark.parametrize('text', ['configs/home/x.py', 'https://host/work/x', '#!/usr/bin/env bash', '<repo>/data/x'])
def test_other_paths_are_not(text: str) -> None:
    assert not MACHINE_PATH.search(text)


def test_links_between_pages_lead_somewhere() -> None:
    link = re.compile(r'\]\((?!https?:|#)([^)#\s]+)')
    found = [
        f'{relative(page)}: {target}'
        for page in tracked_files()
        if page.suffix == '.md'
        for target in link.findall(page.read_text(encoding='utf-8'))
        if not (page.parent / target).exists()
    ]
    assert not found


def test_no_unfinished_marks() -> None:
    marks = re.compile(r'\b(?:TODO|FIXME|XXX)\b')
    found = [
        f'{relative(path)}:{number}'
        for path in tracked_files()
        if path.suffix in ('.py', '.md', '.sh') and path != Path(__file__).resolve()
        for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1)
        if marks.search(line)
    ]
    assert not found
