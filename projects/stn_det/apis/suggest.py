"""Sentences that turn a mistyped name into the one that was meant."""

import difflib
from collections.abc import Iterable
from pathlib import Path

from ..errors import InputError


def did_you_mean(word: str, choices: Iterable[str], limit: int = 3) -> str:
    """``' Did you mean a, b or c?'`` with the choices nearest to ``word``, or an empty string when none is near.

    Args:
        word: what was given.
        choices: what exists.
        limit: at most so many suggestions.
    """
    by_lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(word.lower(), by_lower, n=limit, cutoff=0.6)
    names = [by_lower[name] for name in near]
    if not names:
        return ''
    listed = names[0] if len(names) == 1 else f'{", ".join(names[:-1])} or {names[-1]}'
    return f' Did you mean {listed}?'


def require_file(path: str | Path, what: str) -> Path:
    """``path`` as a Path when it is a file.

    Args:
        path: what the user gave.
        what: what it should be, as the subject of the error sentence: 'checkpoint', 'image'.

    Raises:
        InputError: when there is no such file; names the nearest files of the same folder, or the missing folder.
    """
    path = Path(path)
    if path.is_file():
        return path
    if path.is_dir():
        raise InputError(f'{what} {path} is a folder; expected a file.')
    if not path.parent.is_dir():
        raise InputError(f'{what} {path} does not exist: there is no folder {path.parent}.')
    hint = did_you_mean(path.name, (entry.name for entry in path.parent.iterdir() if entry.is_file()))
    raise InputError(f'{what} {path} does not exist.{hint}')
