"""Distorted digits, the experiment of "Spatial Transformer Networks": a CNN against CNNs behind a transformer.

    python benchmarks/distorted_digits.py --jobs 2
    python benchmarks/distorted_digits.py --mnist data/mnist --steps 20000 --parameters 400000

Scikit-learn's digits by default (``pip install 'stn-det[bench]'``), MNIST with ``--mnist``, from the four files of its
web page. Prints a table and writes ``benchmarks/results/distorted_digits.json`` (``distorted_mnist.json``) after every
network, so that a run which was interrupted goes on where it was. A picture of what the transformers do, and the
weights, are in ``work_dirs/<name of the record>``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from digits.distortions import NAMES
from digits.networks import MODELS
from digits.picture import draw
from digits.training import Run, Settings, perform
from record import REPOSITORY, RESULTS, write_record
from tqdm import tqdm

from stn_det.errors import InputError


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, print, draw."""
    options = parse(arguments)
    settings = Settings(**{field.name: getattr(options, field.name) for field in fields(Settings)})
    name = ('distorted_digits' if options.mnist is None else 'distorted_mnist') + '_validation' * options.validate
    folder = options.work_dir / name
    folder.mkdir(parents=True, exist_ok=True)
    results = folder if options.validate else options.results
    runs = [
        Run(distortion, model, seed)
        for seed in range(options.seeds)
        for distortion in options.distortions
        for model in options.models
    ]
    done = train_missing(runs, settings, folder, results, name, options.jobs)
    print(table({run: done[run.name] for run in runs}))
    print(results / f'{name}.json', draw(folder / 'transformed.png', settings, folder) or '')


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line; those of :class:`Settings` under their names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--distortions', nargs='+', choices=NAMES, default=list(NAMES))
    parser.add_argument('--models', nargs='+', choices=MODELS, default=list(MODELS))
    parser.add_argument('--seeds', type=int, default=3, help='runs of each, with seeds from 0')
    parser.add_argument('--jobs', type=int, default=1, help='processes, of one thread each')
    parser.add_argument('--mnist', type=Path, help="folder of MNIST's files instead of scikit-learn's digits")
    parser.add_argument('--validate', action='store_true', help='measure on a part of the training set; no record')
    parser.add_argument('--work-dir', type=Path, default=REPOSITORY / 'work_dirs')
    parser.add_argument('--results', type=Path, default=RESULTS)
    for field in fields(Settings):
        if field.name not in ('mnist', 'validate'):
            default = field.default
            parser.add_argument(f'--{field.name.replace("_", "-")}', type=type(default), default=default)
    return parser.parse_args(arguments)


def train_missing(
    runs: list[Run], settings: Settings, folder: Path, results: Path, name: str, jobs: int
) -> dict[str, dict[str, Any]]:
    """Results of all runs by name; those that ``<results>/<name>.json`` holds are not repeated.

    Raises:
        InputError: If the file was made with other settings.
    """
    shared = {key: value for key, value in asdict(settings).items() if key != 'mnist'}
    done = finished(results / f'{name}.json', shared)
    missing = [run for run in runs if run.name not in done]
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(jobs, context) as pool, tqdm(total=len(runs), initial=len(runs) - len(missing)) as bar:
        futures = {pool.submit(perform, run, settings, folder): run for run in missing}
        for future in as_completed(futures):
            done[futures[future].name] = future.result()
            write_record(name, {'distortions': NAMES, 'settings': shared, 'runs': done}, results)
            bar.update()
    return done


def finished(path: Path, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Runs in a record of the same settings; none if there is no record."""
    if not path.is_file():
        return {}
    record = json.loads(path.read_text())
    other = {key: value for key, value in record['settings'].items() if settings.get(key) != value}
    if other:
        given = {key: settings.get(key) for key in other}
        raise InputError(
            f'{path} holds runs with {other}, asked for is {given}; remove the file, or write to another --results'
        )
    return record['runs']


def table(results: dict[Run, dict[str, Any]]) -> str:
    """Markdown: mean error and spread over the seeds of each model and distortion, and the change against the CNN."""
    distortions = list(dict.fromkeys(run.distortion for run in results))
    models = list(dict.fromkeys(run.model for run in results))
    lines = [f'| model | weights | {" | ".join(distortions)} |', '|---|---|' + '---|' * len(distortions)]
    for model in models:
        weights = [found['parameters'] for run, found in results.items() if run.model == model]
        cells = [_cell(results, distortion, model) for distortion in distortions]
        lines.append(f'| {model} | {min(weights)}-{max(weights)} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def _cell(results: dict[Run, dict[str, Any]], distortion: str, model: str) -> str:
    mean, spread = _error(results, distortion, model)
    text = f'{mean:.2f} ± {spread:.2f} %'
    if model == 'cnn' or not any((run.distortion, run.model) == (distortion, 'cnn') for run in results):
        return text
    return f'{text} ({mean / _error(results, distortion, "cnn")[0] - 1:+.0%})'


def _error(results: dict[Run, dict[str, Any]], distortion: str, model: str) -> tuple[float, float]:
    """Mean and standard deviation over seeds."""
    errors = [
        found['error_percent'] for run, found in results.items() if (run.distortion, run.model) == (distortion, model)
    ]
    return statistics.fmean(errors), statistics.stdev(errors) if len(errors) > 1 else 0.0


if __name__ == '__main__':
    main()
