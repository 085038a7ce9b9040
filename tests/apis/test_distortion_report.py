"""Summaries and tables of a benchmark under distortions."""

from typing import Any

import pytest

from stn_det.apis.distortion_report import format_report, summarize


def rows(levels: tuple[float, ...], values: tuple[float | None, ...]) -> list[dict[str, Any]]:
    return [{'level': level, 'AP50': value, 'AP75': None, 'mAP': value} for level, value in zip(levels, values)]


def test_summary_of_known_values() -> None:
    found = summarize('rotation', rows((0, 60, 180), (0.8, 0.2, 0.6)))
    assert found['identity'] == 0.8
    assert found['area'] == pytest.approx((60 * 0.5 + 120 * 0.4) / 180)
    assert found['worst'] == {'level': 60, 'loss': pytest.approx(0.6)}
    assert found['ends'] == [{'level': 180, 'loss': pytest.approx(0.2)}]


def test_factors_are_averaged_over_their_logarithm() -> None:
    found = summarize('scale', rows((0.5, 1, 2), (0.0, 1.0, 0.5)))
    assert found['area'] == pytest.approx((0.5 + 0.75) / 2)
    assert [end['level'] for end in found['ends']] == [0.5, 2]


def test_a_single_level_has_no_area() -> None:
    found = summarize('rotation', rows((0,), (0.8,)))
    assert (found['identity'], found['area'], found['ends']) == (0.8, None, [])


def test_nothing_that_counts() -> None:
    found = summarize('rotation', rows((0, 90), (0.8, None)))
    assert found == {'identity': 0.8, 'area': None, 'worst': None, 'ends': []}


def test_the_tables() -> None:
    levels = (0.0, 22.5)
    result = rows(levels, (0.8, None))
    record = {
        'settings': {'images': 3, 'seed': 5},
        'device': 'cpu',
        'commit': None,
        'models': [{'name': 'plain', 'config': 'a.py', 'checkpoint': 'a.pth'}],
        'families': {
            'rotation': {
                'title': 'rotation (degrees)', 'identity': 0.0, 'levels': levels, 'objects': 7, 'ignored': 2,
                'rectangles': rows(levels, (1.0, 0.95)),
                'models': {'plain': {'summary': summarize('rotation', result), 'levels': result}},
            }
        },
    }  # fmt: skip
    lines = format_report(record).splitlines()
    assert '3 images, seed 5, device cpu, commit unknown. Figures in percent.' in lines
    assert '| rotation | plain | 80.0 | - | - | - |' in lines
    place = lines.index('## Rotation (degrees)')
    assert lines[place + 2 :] == [
        '7 objects count, 2 are ignored.',
        '',
        '| model | measure | 0 | 22.5 |',
        '|---|---|---|---|',
        '| plain | AP50 | 80.0 | - |',
        '| plain | AP75 | - | - |',
        '| plain | mAP | 80.0 | - |',
        '| rectangles of the truth | AP50 | 100.0 | 95.0 |',
        '| rectangles of the truth | AP75 | - | - |',
        '| rectangles of the truth | mAP | 100.0 | 95.0 |',
    ]
