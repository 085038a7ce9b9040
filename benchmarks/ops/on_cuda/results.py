"""The file of a run, written after each measured pass so that a run that was cut off can go on, and the table."""

import json
from pathlib import Path
from typing import Any

Record = dict[str, Any]
KEY = ('operator', 'shape', 'dtype', 'points', 'pass')
LOST = 'left the GPU unusable'
HEADER = (
    '| operator | shape, points, dtype | pass | implementation | median µs (quartiles) | flushed | eager | MB | error '
    '| of memory | of L1 | of issue | ratio |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|'
)


class Results:
    """Records of a run and the file that holds them.

    ``header`` describes the run; its ``identity`` says what must be the same for a file to be continued.
    """

    def __init__(self, path: Path | None, header: dict[str, Any]) -> None:
        self.path, self.header = path, header
        self.records: list[Record] = []

    def resume(self) -> str:
        """Take over the records of the file if it is of the same run; says in words what was found."""
        if self.path is None or not self.path.is_file():
            return 'nothing to resume'
        saved = json.loads(self.path.read_text())
        before, now = saved.get('identity', {}), self.header['identity']
        changed = [f'{key} was {before.get(key)!r}, is {now[key]!r}' for key in now if before.get(key) != now[key]]
        if changed:
            return f'{self.path.name} is of another run and will be replaced: {"; ".join(changed)}'
        self.records = saved['records']
        return f'resumed after {len(self.records)} records of {self.path.name}'

    def done(self, key: tuple[str, ...], which: str) -> bool:
        """Whether a pass of a row was measured, to its end."""
        found = [record for record in self.records if tuple(record[name] for name in KEY) == (*key, which)]
        return bool(found) and not all(lost(record) for record in found)

    def lost_in(self, key: tuple[str, ...]) -> set[str]:
        """Contenders that broke the GPU in a row of the same operator and dtype: each attempt costs a new process."""
        return {
            record['implementation']
            for record in self.records
            if lost(record) and (record['operator'], record['dtype']) == (key[0], key[2])
        }

    def add(self, records: list[Record]) -> None:
        """Put records in place of older ones of the same pass and implementation, and write the file."""
        names = (*KEY, 'implementation')
        new = {tuple(record[name] for name in names) for record in records}
        self.records = [r for r in self.records if tuple(r[name] for name in names) not in new] + records
        if self.path is not None:
            self.write(self.path)

    def write(self, path: Path) -> None:
        """Write all there is, one record a line, through a temporary file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        head = json.dumps(self.header, indent=2).removesuffix('\n}')
        lines = ',\n'.join(f'    {json.dumps(record)}' for record in self.records)
        part = path.with_suffix('.part')
        part.write_text(f'{head},\n  "records": [\n{lines}\n  ]\n}}\n')
        part.replace(path)


def lost(record: Record) -> bool:
    """Whether the record is of a contender that broke the GPU."""
    return record.get('failed', '').startswith(LOST)


def table_row(record: Record, ours: Record | None) -> str:
    """One line of the table; the ratio is to the median of ours."""
    where = ', '.join(part for part in (record['shape'], record['points'], record['dtype']) if part)
    start = f'| {record["operator"]} | {where} | {record["pass"]} | {record["implementation"]} |'
    if 'failed' in record:
        return f'{start} failed: {record["failed"]} | | | | | | | | |'
    times = f'{record["median_us"]:.1f} ({record["q1_us"]:.1f} to {record["q3_us"]:.1f})'
    if not record['graph']:
        times += ', no graph'
    error, peak = record['error'], record['peak_bytes']
    cells = [
        times,
        _cell(record['cold_median_us'], '{:.1f}'),
        f'{record["eager_us"]:.1f}',
        _cell(None if peak is None else peak / 1e6, '{:.1f}'),
        error if isinstance(error, str) else _cell(error, '{:.1e}'),
        *(_cell(record.get(name), '{:.0%}') for name in ('of_memory', 'of_l1', 'of_issue')),
        _cell(record['median_us'] / ours['median_us'] if ours and 'failed' not in ours else None, '{:.2f}'),
    ]
    return f'{start} {" | ".join(cells)} |'


def _cell(value: float | None, form: str) -> str:
    return '' if value is None else form.format(value)
