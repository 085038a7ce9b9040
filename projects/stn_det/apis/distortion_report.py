"""What a benchmark under distortions found: summaries, a Markdown table, curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.distortions import DISTORTIONS
from ..visualization import DistortionPanel, plot_distortion_curves
from .files import write_json, write_text

MEASURES = ('AP50', 'AP75', 'mAP')
RECTANGLES = 'rectangles of the truth'

Figures = Mapping[str, Any]


def summarize(family: str, rows: Sequence[Figures]) -> dict[str, Any]:
    """The course of mAP over the levels of a family in a few figures.

    Args:
        family: name of the distortion.
        rows: figures by level in rising order, with ``level`` and ``mAP`` in [0, 1] or None.

    Returns:
        ``identity``: mAP of the undistorted images. ``area``: area under the curve over the width of its range, which
        is the mean mAP over the range (over the logarithm of the level for factors); None for a single level.
        ``worst`` and ``ends``: level and loss of mAP against the identity, where it is largest and at the outer levels.
    """
    kind = DISTORTIONS[family]
    at = {row['level']: row['mAP'] for row in rows}
    whole = at[kind.identity]
    if whole is None or None in at.values():
        return {'identity': whole, 'area': None, 'worst': None, 'ends': []}
    losses = [{'level': level, 'loss': whole - value} for level, value in at.items()]
    ends = [losses[place] for place in sorted({0, len(losses) - 1}) if losses[place]['level'] != kind.identity]
    return {
        'identity': whole,
        'area': _area(list(at), list(at.values()), kind.logarithmic),
        'worst': max(losses, key=lambda item: item['loss']),
        'ends': ends,
    }


def _area(levels: Sequence[float], values: Sequence[float], logarithmic: bool) -> float | None:
    """Area of a curve by trapezoids over the width of its range."""
    x = np.log(levels) if logarithmic else np.asarray(levels)
    return float(np.trapezoid(values, x) / (x[-1] - x[0])) if len(x) > 1 else None


def format_report(record: Mapping[str, Any]) -> str:
    """A record of :func:`~stn_det.apis.distortion_benchmark` as Markdown, in percent."""
    parts = ['# Average precision under distortions', '', _heading(record), '', *_summary_table(record)]
    for family in record['families'].values():
        parts += ['', *_family_table(family)]
    return '\n'.join(parts) + '\n'


def write_report(out_dir: Path, record: Mapping[str, Any]) -> tuple[Path, ...]:
    """Write ``distortion.json``, ``distortion.md`` and one picture of curves a measure; returns the files."""
    files = [
        write_json(out_dir / 'distortion.json', record),
        write_text(out_dir / 'distortion.md', format_report(record)),
    ]
    for measure in MEASURES:
        panels = [_panel(name, family, measure) for name, family in record['families'].items()]
        files.append(plot_distortion_curves(panels, out_dir / f'distortion_{measure}.png', measure, RECTANGLES))
    return tuple(files)


def _panel(name: str, family: Figures, measure: str) -> DistortionPanel:
    return DistortionPanel(
        title=f'{name.capitalize()}, {family["objects"]} objects',
        x_label=family['title'],
        levels=family['levels'],
        curves={model: [row[measure] for row in found['levels']] for model, found in family['models'].items()},
        identity=family['identity'],
        logarithmic=DISTORTIONS[name].logarithmic,
        reference=[row[measure] for row in family['rectangles']],
    )


def _heading(record: Mapping[str, Any]) -> str:
    settings = record['settings']
    lines = [
        f'{settings["images"]} images, seed {settings["seed"]}, device {record["device"]}, '
        f'commit {record["commit"] or "unknown"}. Figures in percent.',
        '',
        *_row('model', 'config', 'checkpoint', head=True),
        *(line for model in record['models'] for line in _row(model['name'], model['config'], model['checkpoint'])),
    ]
    return '\n'.join(lines)


def _summary_table(record: Mapping[str, Any]) -> list[str]:
    lines = _row('family', 'model', 'mAP undistorted', 'mean mAP', 'largest loss', 'loss at the ends', head=True)
    for name, family in record['families'].items():
        for model, result in family['models'].items():
            found = result['summary']
            worst = [found['worst']] if found['worst'] else []
            losses = (_losses(worst), _losses(found['ends']))
            lines += _row(name, model, _percent(found['identity']), _percent(found['area']), *losses)
    return lines


def _losses(items: Sequence[Figures]) -> str:
    return ', '.join(f'{_percent(item["loss"])} at {item["level"]:g}' for item in items) or '-'


def _row(*cells: str, head: bool = False) -> list[str]:
    """A row of a Markdown table, with the line below it if it is the head."""
    return [f'| {" | ".join(cells)} |', *([f'|{"---|" * len(cells)}'] if head else [])]


def _family_table(family: Figures) -> list[str]:
    lines = [
        f'## {family["title"][0].upper()}{family["title"][1:]}',
        '',
        f'{family["objects"]} objects count, {family["ignored"]} are ignored.',
        '',
        *_row('model', 'measure', *(f'{level:g}' for level in family['levels']), head=True),
    ]
    rows = {model: found['levels'] for model, found in family['models'].items()} | {RECTANGLES: family['rectangles']}
    for title, found in rows.items():
        for measure in MEASURES:
            lines += _row(title, measure, *(_percent(row[measure]) for row in found))
    return lines


def _percent(value: float | None) -> str:
    return '-' if value is None else f'{100 * value:.1f}'
