"""How much average precision detectors lose when images are turned, scaled, sheared or seen obliquely."""

import contextlib
import io
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from tqdm import tqdm

from ..datasets.distortions import DISTORTIONS
from .devices import resolve_device
from .distortion_model import BenchmarkModel, check_same_truth, level_config, prepare_model
from .distortion_plan import Settings, file_name, model_names, plan_levels
from .distortion_report import MEASURES, format_report, summarize, write_report
from .files import write_json
from .provenance import commit, hardware, versions
from .testing import run_test

RECORD_FORMAT = 1


@dataclass(frozen=True)
class DistortionReport:
    """What a benchmark found and wrote."""

    record: dict[str, Any]
    """All figures and what made them, as in ``distortion.json``."""
    files: tuple[Path, ...]
    """JSON, Markdown and curves."""

    def table(self) -> str:
        """The figures as Markdown, average precision in percent."""
        return format_report(self.record)


def distortion_benchmark(
    models: Sequence[tuple[str | Path | Config, str | Path]],
    *,
    names: Sequence[str] | None = None,
    families: Sequence[str] | None = None,
    levels: Mapping[str, Sequence[float]] | None = None,
    max_images: int | None = None,
    min_visible: float = 0.75,
    seed: int = 0,
    out_dir: str | Path = 'work_dirs/distortion',
    cfg_options: Mapping[str, Any] | Sequence[str] | None = None,
    allow_new: bool = False,
    device: str | None = None,
    progress: bool | None = None,
) -> DistortionReport:
    """Measure detectors on the distorted images of their test set, with the truth mapped alike.

    A finished level is kept in ``out_dir/levels``: the same call goes on where it was interrupted, and measures again
    what was measured with another config, checkpoint, data, set of levels, seed or device.

    Args:
        models: pairs of config and checkpoint, as for :func:`~stn_det.apis.test`, measured on the same data.
        names: of the models in tables and curves; None takes those of the configs, then of the checkpoints.
        families: of :data:`~stn_det.datasets.distortions.DISTORTIONS`; None takes rotation, scale, shear and obliquity,
            for pairs of images the sensor shift too.
        levels: by family, in place of the usual ones; the undistorted level is always measured.
        max_images: measure so many images, drawn by the seed; None takes all.
        min_visible: share of an object that must be inside of the frame at every level of a family for it to count.
        seed: draws the images, and for each the direction of shear, obliquity and shift.
        out_dir: for JSON, Markdown, curves, finished levels and logs.
        cfg_options: overrides of all configs, see :func:`~stn_det.apis.load_config`.
        allow_new: let an override add a key.
        device: 'cpu', 'cuda', 'cuda:1'; None takes the first GPU, else the CPU.
        progress: show a progress bar; None: when stderr is a terminal.

    Returns:
        Figures and files.

    Raises:
        InputError: when an argument is out of range, two models have one name or are tested on different data.
        ConfigError: when a config cannot be used.
        ClassMismatchError: when checkpoint and config differ in classes.
    """
    settings = Settings(seed, max_images, min_visible)
    prepared = [
        prepare_model(config, checkpoint, name, settings, cfg_options, allow_new)
        for (config, checkpoint), name in zip(models, model_names(models, names))
    ]
    check_same_truth(prepared)
    plan = plan_levels(families, levels, paired=all(len(model.image_keys) > 1 for model in prepared))
    folder, kind = Path(out_dir), resolve_device(device).type
    cases = [
        _Case.make(folder, model, family, level, plan[family], settings, kind)
        for model in prepared
        for family in plan
        for level in plan[family]
    ]
    figures = _figures(cases, settings, device, progress)
    record = _record(prepared, plan, settings, kind, dict(zip(cases, figures)))
    return DistortionReport(record, write_report(folder, record))


@dataclass(frozen=True, eq=False)
class _Case:
    """One model at one level of a family."""

    model: BenchmarkModel
    family: str
    level: float
    levels: tuple[float, ...]
    folder: Path
    """Of the benchmark."""
    key: dict[str, Any]
    """What its figures depend on."""

    @classmethod
    def make(
        cls,
        folder: Path,
        model: BenchmarkModel,
        family: str,
        level: float,
        levels: tuple[float, ...],
        settings: Settings,
        device: str,
    ) -> '_Case':
        key = {**model.digests, 'levels': list(levels), **asdict(settings), 'device': device}
        return cls(model, family, level, levels, folder, key)

    @property
    def path(self) -> Path:
        """File that keeps its figures."""
        return self.folder / 'levels' / file_name(self.model.name) / f'{self.family}_{self.level:g}.json'

    def stored(self) -> tuple[dict[str, Any] | None, list[str]]:
        """Figures that an earlier call kept, or None, and what has changed since."""
        if not self.path.is_file():
            return None, []
        content = json.loads(self.path.read_text(encoding='utf-8'))
        changed = [name for name, value in self.key.items() if content['key'].get(name) != value]
        return (None if changed else content['figures']), changed


def _figures(
    cases: Sequence[_Case], settings: Settings, device: str | None, progress: bool | None
) -> list[dict[str, Any]]:
    """Figures of each case, measured where no earlier call did."""
    kept = [case.stored() for case in cases]
    _tell_changes(cases, [changed for _, changed in kept])
    hidden = None if progress is None else not progress
    total = sum(case.model.num_images for case in cases)
    found = []
    with tqdm(total=total, desc='distortions', unit='image', dynamic_ncols=True, disable=hidden) as bar:
        for case, (figures, _) in zip(cases, kept):
            bar.set_postfix_str(f'{case.model.name}, {case.family} {case.level:g}')
            if figures is None:
                figures = _measure(case, settings, device, bar)
                write_json(case.path, {'key': case.key, 'figures': figures})
            else:
                bar.update(case.model.num_images)
            found.append(figures)
    return found


def _tell_changes(cases: Sequence[_Case], changes: Sequence[list[str]]) -> None:
    """Say for each model why levels that are there are measured again."""
    for model in dict.fromkeys(case.model.name for case in cases):
        mine = [changed for case, changed in zip(cases, changes) if changed and case.model.name == model]
        if mine:
            what = ', '.join(sorted({name for changed in mine for name in changed}))
            print(f'{model}: {len(mine)} levels are measured again, because of a change of {what}.', file=sys.stderr)


def _measure(case: _Case, settings: Settings, device: str | None, bar: Any) -> dict[str, Any]:
    """Test a model at one level."""
    start = time.perf_counter()
    logs = case.folder / 'logs' / file_name(case.model.name)
    cfg = level_config(case.model, case.family, case.level, case.levels, settings, logs)
    with contextlib.redirect_stdout(io.StringIO()):  # mmengine prints where it loads weights from, each time
        metrics = run_test(cfg, device, hooks=[_Tick(bar)])
    return {
        'level': case.level,
        **{name: _finite(metrics.get(f'dota/{name}')) for name in MEASURES},
        **{name: int(metrics[f'truth/{name}']) for name in ('objects', 'ignored', 'images')},
        'rectangles': {name: _finite(metrics.get(f'truth/{name}')) for name in MEASURES},
        'classes': {name: _by_class(metrics, name, case.model.classes) for name in MEASURES},
        'seconds': round(time.perf_counter() - start, 2),
        'commit': commit(),
    }


def _by_class(metrics: Mapping[str, float], measure: str, classes: Sequence[str]) -> dict[str, float | None]:
    """A measure of every class that has objects."""
    keys = {name: f'dota/{measure}_{name}' for name in classes}
    return {name: _finite(metrics[key]) for name, key in keys.items() if key in metrics}


class _Tick(Hook):
    """Moves a progress bar on by the images of each batch."""

    def __init__(self, bar: Any) -> None:
        self.bar = bar

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.bar.update(len(outputs))


def _finite(value: float | None) -> float | None:
    """A figure, or None where there is none: NaN is no JSON."""
    return None if value is None or math.isnan(value) else value


def _record(
    models: Sequence[BenchmarkModel],
    plan: Mapping[str, tuple[float, ...]],
    settings: Settings,
    device: str,
    figures: Mapping[_Case, dict[str, Any]],
) -> dict[str, Any]:
    """Everything about a benchmark that a reader of its figures needs."""
    families = {}
    for family, levels in plan.items():
        rows = {
            model.name: [found for case, found in figures.items() if (case.model, case.family) == (model, family)]
            for model in models
        }
        first = rows[models[0].name]
        families[family] = {
            'title': DISTORTIONS[family].title,
            'identity': DISTORTIONS[family].identity,
            'levels': list(levels),
            'objects': first[0]['objects'],
            'ignored': first[0]['ignored'],
            'rectangles': [{'level': row['level'], **row['rectangles']} for row in first],
            'models': {name: {'summary': summarize(family, found), 'levels': found} for name, found in rows.items()},
        }
    return {
        'format': RECORD_FORMAT,
        'date': datetime.now(timezone.utc).strftime('%Y-%m-%d'),
        'commit': commit(),
        'versions': versions(),
        'hardware': hardware(),
        'device': device,
        'settings': {**asdict(settings), 'images': models[0].num_images},
        'models': [
            {'name': model.name, 'config': model.config, 'checkpoint': model.checkpoint, 'sha256': model.digests}
            for model in models
        ],
        'families': families,
    }
