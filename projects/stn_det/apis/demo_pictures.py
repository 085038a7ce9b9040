"""Pictures of the demo: predictions over truth, precision and recall, the course of the training."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..datasets.formats import parse_dota_lines
from ..evaluation.functional import Detections, Truths, eval_oriented_map, match_image
from ..visualization import GallerySample, plot_pr_curves, plot_training_curves, prediction_gallery
from .files import write_text
from .predictor import ImagePrediction, Predictor

GALLERY_IMAGES = 6
GALLERY_SCORE = 0.3


def draw_demo(folder: Path, predictor: Predictor, show: bool) -> list[Path]:
    """Draw the results of a finished demo.

    Args:
        folder: the demo's folder, with ``data/val`` and ``run``.
        predictor: the trained detector.
        show: show a progress bar.

    Returns:
        The pictures.
    """
    val = folder / 'data' / 'val'
    paths = sorted((val / 'images').glob('*.png'))
    predictions = [predictor(path) for path in tqdm(paths, desc='draw', unit='image', disable=not show)]
    truths = [_truths(val / 'labelTxt' / f'{path.stem}.txt', predictor.classes) for path in paths]
    samples = [_sample(predictions[index], truths[index]) for index in _spread(truths, GALLERY_IMAGES)]
    title = f'Validation scenes, detections with a score of at least {GALLERY_SCORE}'
    pictures = [prediction_gallery(samples, folder / 'gallery.png', classes=predictor.classes, title=title)]
    curves = _precision_recall(folder / 'precision_recall.png', predictions, truths, predictor.classes)
    pictures += [] if curves is None else [curves]
    history = merge_histories(folder / 'run')
    pictures.append(plot_training_curves(history, folder / 'training.png', title='Training on generated scenes'))
    return pictures


def merge_histories(run: Path) -> Path:
    """One ``scalars.json`` from those of a run and its continuations; later lines replace earlier ones of a step."""
    lines: dict[tuple[bool, Any], dict[str, Any]] = {}
    for part in sorted(run.glob('*/vis_data/scalars.json')):
        for text in part.read_text(encoding='utf-8').splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:  # a run that was killed leaves half a line
                continue
            lines[('loss' in line, line['step'])] = line
    ordered = [lines[key] for key in sorted(lines, key=lambda key: (not key[0], key[1]))]
    return write_text(run / 'scalars.json', ''.join(f'{json.dumps(line)}\n' for line in ordered))


def _truths(path: Path, classes: Sequence[str]) -> Truths:
    objects = parse_dota_lines(path.read_text(encoding='utf-8'), classes, path.name)
    return Truths(
        np.array([item.corners for item in objects]).reshape(-1, 8),
        np.array([item.label for item in objects], dtype=np.int64),
        np.array([item.difficult > 0 for item in objects], dtype=bool),
    )


def _spread(truths: Sequence[Truths], count: int) -> list[int]:
    """Indices of at most ``count`` images with objects, evenly spread; of any images where none has objects."""
    filled = [index for index, truth in enumerate(truths) if len(truth.boxes)] or list(range(len(truths)))
    places = np.linspace(0, len(filled) - 1, min(count, len(filled))).round().astype(int)
    return [filled[place] for place in places]


def _detections(prediction: ImagePrediction) -> Detections:
    return Detections(prediction.boxes, prediction.scores, prediction.labels)


def _sample(prediction: ImagePrediction, truths: Truths) -> GallerySample:
    shown = prediction.keep(GALLERY_SCORE)
    outcomes, found = match_image(_detections(shown), truths)
    return GallerySample(
        image=prediction.image(),
        name=prediction.path.stem,
        boxes=shown.boxes,
        labels=shown.labels,
        outcomes=outcomes,
        truths=truths.boxes,
        found=found,
        ignored=truths.ignored,
    )


def _precision_recall(
    out_file: Path, predictions: Sequence[ImagePrediction], truths: Sequence[Truths], classes: Sequence[str]
) -> Path | None:
    """Curves at IoU 0.5 of the classes that have truths and detections, None when no class has."""
    result = eval_oriented_map([_detections(item) for item in predictions], truths, len(classes), (0.5,))
    shown = [item for item in result.classes if item.num_truths and item.num_detections]
    if not shown:
        return None
    curves = {classes[item.label]: item.curve(0.5) for item in shown}
    averages = {classes[item.label]: float(item.ap[0]) for item in shown}
    return plot_pr_curves(curves, out_file, averages, 'Precision and recall at IoU 0.5')
