"""The file of a run: what is written, what a later run takes over, and the table."""

import json
from pathlib import Path
from typing import Any

import pytest
from ops.on_cuda.results import HEADER, LOST, Results, table_row

KEY = ('ms_deform_attn', 'R50 encoder, N = 2', 'float32', 'init')
HEADER_OF_RUN = {'identity': {'commit': 'abc1234', 'rounds': 20, 'peers': {'mmcv': 'absent: no such module'}}}


def record(which: str = 'forward', name: str = 'stn_det', **more: Any) -> dict[str, Any]:
    """A record with all that the table shows."""
    figures = dict(zip(('q1_us', 'median_us', 'q3_us'), (90.0, 100.0, 120.0)))
    rest = {'cold_median_us': 150.0, 'eager_us': 130.0, 'peak_bytes': 2_000_000, 'error': 1e-6, 'graph': True}
    named = dict(zip(('operator', 'shape', 'dtype', 'points'), KEY))
    return {**named, 'pass': which, 'implementation': name, **figures, **rest, **more}


def test_a_run_goes_on_after_what_is_in_the_file(tmp_path: Path) -> None:
    first = Results(tmp_path / 'ops.json', HEADER_OF_RUN)
    first.add([record(), record(name='mmcv')])
    second = Results(tmp_path / 'ops.json', HEADER_OF_RUN)
    assert not second.done(KEY, 'forward')
    assert second.resume() == 'resumed after 2 records of ops.json'
    assert second.done(KEY, 'forward')
    assert not second.done(KEY, 'backward')
    assert not second.done((*KEY[:3], 'anywhere'), 'forward')
    second.add([record('backward')])
    saved = json.loads((tmp_path / 'ops.json').read_text())
    assert [(r['pass'], r['implementation']) for r in saved['records']] == [
        ('forward', 'stn_det'),
        ('forward', 'mmcv'),
        ('backward', 'stn_det'),
    ]
    assert saved['identity'] == HEADER_OF_RUN['identity']
    assert list(tmp_path.iterdir()) == [tmp_path / 'ops.json']


@pytest.mark.parametrize(('key', 'value'), [('commit', 'def5678'), ('peers', {'mmcv': 'mmcv 2.2.0'})])
def test_a_file_of_another_run_is_not_continued(tmp_path: Path, key: str, value: object) -> None:
    Results(tmp_path / 'ops.json', HEADER_OF_RUN).add([record()])
    other = Results(tmp_path / 'ops.json', {'identity': {**HEADER_OF_RUN['identity'], key: value}})
    assert f'{key} was {HEADER_OF_RUN["identity"][key]!r}, is {value!r}' in other.resume()
    assert other.records == []


def test_without_a_file_there_is_nothing_to_resume(tmp_path: Path) -> None:
    assert Results(tmp_path / 'ops.json', HEADER_OF_RUN).resume() == 'nothing to resume'
    assert Results(None, HEADER_OF_RUN).resume() == 'nothing to resume'


def test_a_pass_in_which_the_gpu_was_lost_is_measured_again_without_the_culprit(tmp_path: Path) -> None:
    named = {name: value for name, value in record(name='mmcv').items() if not name.endswith('_us')}
    results = Results(tmp_path / 'ops.json', HEADER_OF_RUN)
    results.add([{**named, 'failed': f'{LOST}: RuntimeError: illegal memory access'}])
    again = Results(tmp_path / 'ops.json', HEADER_OF_RUN)
    again.resume()
    assert not again.done(KEY, 'forward')
    assert again.lost_in(KEY) == again.lost_in((KEY[0], 'another shape', KEY[2], '')) == {'mmcv'}
    assert again.lost_in((KEY[0], KEY[1], 'float16', KEY[3])) == set()
    again.add([record(), {**named, 'failed': f'{LOST} in an earlier run'}])
    assert again.done(KEY, 'forward')
    assert len(again.records) == 2


def test_table() -> None:
    ours = record(of_memory=0.25, of_l1=0.5, of_issue=None)
    cells = [cell.strip() for cell in table_row(ours, ours).split('|')]
    assert cells[5:] == ['100.0 (90.0 to 120.0)', '150.0', '130.0', '2.0', '1.0e-06', '25%', '50%', '', '1.00', '']
    slower = record(name='mmcv', median_us=250.0, graph=False, error='not finite', cold_median_us=None, peak_bytes=None)
    cells = [cell.strip() for cell in table_row(slower, ours).split('|')]
    assert cells[5:] == [
        '250.0 (90.0 to 120.0), no graph', '', '130.0', '', 'not finite', '', '', '', '2.50', ''
    ]  # fmt: skip
    failed = table_row({**record(), 'failed': 'RuntimeError: no kernel'}, None)
    assert 'failed: RuntimeError: no kernel' in failed
    columns = HEADER.splitlines()[0].count('|')
    assert {table_row(ours, ours).count('|'), failed.count('|')} == {columns}
