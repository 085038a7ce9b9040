"""The demo: scenes are generated, a small detector learns them, its detections are measured and drawn."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint

from ..datasets.scenes import SceneConfig, write_scenes
from ..errors import MissingDependencyError
from .classes import load_checkpoint_file
from .configs import load_config
from .demo_pictures import draw_demo
from .demo_plan import (
    DEMO_CONFIG,
    GSD,
    VAL_SEED_OFFSET,
    DemoPlan,
    Progress,
    set_data_root,
    set_image_size,
    set_schedule,
)
from .files import write_json, write_text
from .predictor import Predictor
from .pretrained import fetch_mobilenetv2
from .provenance import hardware, versions
from .testing import test
from .training import train


@dataclass(frozen=True)
class DemoResult:
    """What the demo measured and wrote."""

    work_dir: Path
    """Folder with everything."""
    config: Path
    """The config as trained, complete, for ``stn-det test`` and ``stn-det predict``."""
    checkpoint: Path
    """Weights after the last epoch, without what only a continued training needs."""
    metrics: dict[str, float]
    """Metrics on the validation scenes, by name."""
    seconds: dict[str, float]
    """Wall-clock seconds of each phase."""
    files: tuple[Path, ...]
    """Results to look at."""

    def table(self) -> str:
        """Results as a Markdown table, average precision in percent."""
        measures = ('AP50', 'AP75', 'mAP')
        figures = {name.removeprefix('dota/'): value for name, value in self.metrics.items()}
        classes = [name.removeprefix('AP50_') for name in figures if name.startswith('AP50_')]
        rows = [
            f'| {row or "all"} | '
            + ' | '.join(_percent(figures.get(f'{name}_{row}' if row else name)) for name in measures)
            for row in ('', *classes)
        ]
        times = [f'| {name} | {value:.0f} s' for name, value in self.seconds.items()]
        head = ['| class | AP50 | AP75 | mAP |', '|---|---|---|---|']
        return '\n'.join(
            [*head, *(f'{row} |' for row in rows), '', '| phase | time |', '|---|---|', *(f'{t} |' for t in times)]
        )

    def next_steps(self) -> str:
        """What to look at and what to run next."""
        looks = '\n'.join(f'  {path}' for path in self.files)
        images = self.work_dir / 'data' / 'val' / 'images'
        return (
            f'\nLook at:\n{looks}\n\nTry next:\n'
            f'  stn-det predict {self.config} {self.checkpoint} {images} --out-dir {self.work_dir}/predictions\n'
            f'  stn-det test {self.config} {self.checkpoint} --show-dir {self.work_dir}/drawn'
        )


def run_demo(
    work_dir: str | Path | None = None,
    *,
    quick: bool = False,
    seed: int = 0,
    images: int | None = None,
    epochs: int | None = None,
    device: str | None = None,
    progress: bool | None = None,
) -> DemoResult:
    """Generate scenes, train, evaluate, draw. Finished phases are kept: the same call continues an interrupted one.

    Args:
        work_dir: folder for everything, by default ``work_dirs/demo`` or ``work_dirs/demo-quick``; ``metrics.json`` and
            ``results.md`` hold the figures.
        quick: 16 small scenes and six epochs from random weights, which shows the steps and not the quality.
        seed: of the scenes and of the training.
        images: number of training scenes, with a quarter as many for validation; None: 400 and 80, quick 16 and 6.
        epochs: number of epochs; None: 8, quick 6.
        device: 'cpu', 'cuda', 'cuda:1'; None takes the first GPU, else the CPU.
        progress: show progress bars; None: when stderr is a terminal.

    The full demo makes its scenes in two processes: a script that calls it must do so under
    ``if __name__ == '__main__':``.

    Returns:
        Metrics, times and the files to look at.

    Raises:
        InputError: when a number is not usable, or ``work_dir`` holds a demo with other settings.
    """
    folder = Path(work_dir or ('work_dirs/demo-quick' if quick else 'work_dirs/demo'))
    plan = DemoPlan.make(quick, seed, images, epochs)
    state = Progress(folder, plan)
    show = sys.stderr.isatty() if progress is None else progress
    with state.phase('scenes'):
        _write_data(folder / 'data', plan, show)
    with state.phase('train'):
        config, checkpoint = _train(folder, plan, device, progress)
    with state.phase('evaluate'):
        metrics = test(str(config), checkpoint, work_dir=folder / 'evaluation', device=device, progress=progress)
    with state.phase('draw'):
        pictures = draw_demo(folder, Predictor(config, checkpoint, device=device), show)
    report = folder / 'results.md'
    result = DemoResult(folder, config, checkpoint, metrics, dict(state.seconds), (report, *pictures))
    write_json(folder / 'metrics.json', _record(result, plan))
    write_text(report, f'# Demo on generated scenes\n\n{result.table()}\n')
    return result


def _percent(value: float | None) -> str:
    """A figure in percent, or a dash where there is none."""
    return '-' if value is None or value != value else f'{100 * value:.1f}'


def _write_data(data: Path, plan: DemoPlan, show: bool) -> None:
    """Training and validation scenes; scenes that exist are kept."""
    config = SceneConfig(size=(plan.scene_size, plan.scene_size), gsd=GSD)
    write_scenes(data / 'train', plan.train_images, config, seed=plan.seed, workers=plan.workers, progress=show)
    write_scenes(
        data / 'val', plan.val_images, config, seed=plan.seed + VAL_SEED_OFFSET, workers=plan.workers, progress=show
    )


def _train(folder: Path, plan: DemoPlan, device: str | None, progress: bool | None) -> tuple[Path, Path]:
    """Train, or go on training; the complete config and the detector's weights."""
    run, config, detector = folder / 'run', folder / 'config.py', folder / 'detector.pth'
    if not detector.is_file():
        cfg = _config(folder, plan)
        folder.mkdir(parents=True, exist_ok=True)
        cfg.dump(config)
        last = run / f'epoch_{plan.epochs}.pth'
        # not last.is_file(): a run that was killed while it saved leaves a part of the file
        newest = find_latest_checkpoint(str(run)) if run.is_dir() else None
        if newest is None or Path(newest).name != last.name:
            train(cfg, work_dir=run, resume=True, device=device, progress=progress)
        _strip(last, detector)
    return config, detector


def _strip(checkpoint: Path, out_file: Path) -> None:
    """Keep the weights and the classes of a checkpoint, drop the state of the training."""
    content = load_checkpoint_file(checkpoint)
    meta = {key: value for key, value in content['meta'].items() if key in ('dataset_meta', 'epoch', 'iter')}
    part = out_file.with_name(f'{out_file.name}.part')
    torch.save({'state_dict': content['state_dict'], 'meta': meta}, part)
    part.replace(out_file)


def _config(folder: Path, plan: DemoPlan) -> Config:
    """The demo's config for these sizes and this folder."""
    cfg = load_config(DEMO_CONFIG)
    set_data_root(cfg, folder.resolve() / 'data')
    set_schedule(cfg, plan.epochs, plan.train_images)
    set_image_size(cfg, plan.scene_size)
    cfg.randomness = dict(seed=plan.seed)
    cfg.model.backbone.init_cfg = _weights(folder) if plan.pretrained else None
    if cfg.model.backbone.init_cfg is None:  # nothing learnt that freezing would keep
        cfg.model.backbone.update(frozen_stages=-1, norm_eval=False)
    return cfg


def _weights(folder: Path) -> dict[str, str] | None:
    """ImageNet weights of the backbone, or None where they cannot be had."""
    try:
        path = fetch_mobilenetv2(folder / 'mobilenet_v2.pth')
    except MissingDependencyError as error:
        print(f'training starts from random weights: {error}', file=sys.stderr)
        return None
    return dict(type='Pretrained', checkpoint=str(path.resolve()))


def _record(result: DemoResult, plan: DemoPlan) -> dict[str, Any]:
    """Everything about a run that a reader of its figures needs."""
    return {
        'metrics': result.metrics,
        'seconds': result.seconds,
        'plan': {**asdict(plan), 'gsd': GSD},
        'config': DEMO_CONFIG,
        'checkpoint': str(result.checkpoint),
        'versions': versions(),
        'hardware': hardware(),
    }
