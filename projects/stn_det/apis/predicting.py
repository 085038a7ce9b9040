"""Prediction on files and folders: JSON, DOTA-style text and pictures, one bad image at a time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
from mmengine.config import Config
from tqdm import tqdm

from ..errors import ClassMismatchError, InputError, StnDetError
from .files import write_json, write_text
from .predictor import ImagePrediction, Predictor
from .suggest import did_you_mean, require_file

IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')


@dataclass
class PredictResult:
    """What a prediction run did."""

    out_dir: Path
    """Folder with the results."""
    done: list[Path] = field(default_factory=list)
    """Images predicted in this run."""
    skipped: list[Path] = field(default_factory=list)
    """Images that had a result already."""
    failed: dict[Path, str] = field(default_factory=dict)
    """Images that could not be used, each with the reason."""
    detections: int = 0
    """Boxes written in this run."""


def predict(
    config: str | Path | Config,
    checkpoint: str | Path,
    inputs: Sequence[str | Path],
    *,
    out_dir: str | Path = 'predictions',
    score_thr: float = 0.3,
    classes: Sequence[str] | None = None,
    draw: bool = True,
    resume: bool = False,
    cfg_options: Mapping[str, Any] | Sequence[str] | None = None,
    allow_new: bool = False,
    device: str | None = None,
    progress: bool | None = None,
) -> PredictResult:
    """Detect oriented objects in images and write the results.

    For each image ``name.png`` this writes ``name.json`` (boxes, corners, scores), ``name.txt`` (DOTA-style lines
    ``x1 y1 ... x4 y4 class score``) and, unless ``draw`` is false, ``name_boxes.png``. An image that cannot be read is
    reported in the result, and the rest goes on.

    Args:
        config: a path, ``package::path``, the bare name of a shipped config, or a loaded config.
        checkpoint: its weights.
        inputs: image files and folders; folders are searched with their sub-folders, whose structure is kept. Pictures
            that an earlier call drew are passed over.
        out_dir: where the results go.
        score_thr: lowest score to write, in [0, 1].
        classes: names of the classes to write; None writes all.
        draw: also draw the boxes on the image.
        resume: skip images whose JSON exists.
        cfg_options: overrides, see :func:`~stn_det.apis.load_config`.
        allow_new: let an override add a key.
        device: 'cpu', 'cuda', 'cuda:1'; None takes the first GPU, else the CPU.
        progress: show a progress bar; None: when stderr is a terminal.

    Returns:
        What was done, skipped and failed.

    Raises:
        InputError: when an input does not exist, a folder holds no images, or the threshold is out of range.
        ClassMismatchError: when checkpoint and config differ in classes, or ``classes`` names an unknown one.
        ConfigError: when the config or an override cannot be used.
    """
    if not 0 <= score_thr <= 1:
        raise InputError(f'score_thr is {score_thr}; expected a number in [0, 1].')
    result = PredictResult(Path(out_dir))
    images = _name_outputs(collect_images(inputs))
    predictor = Predictor(config, checkpoint, device=device, cfg_options=cfg_options, allow_new=allow_new)
    labels = None if classes is None else _labels(classes, predictor.classes)
    hidden = None if progress is None else not progress
    for image, name in tqdm(images.items(), desc='predict', unit='image', disable=hidden):
        target = result.out_dir / name
        if resume and _with_suffix(target, '.json').is_file():
            result.skipped.append(image)
            continue
        try:
            prediction = predictor(image).keep(score_thr, labels)
            _write(prediction, target, draw)
        except (StnDetError, OSError) as error:
            result.failed[image] = str(error)
            continue
        result.done.append(image)
        result.detections += len(prediction)
    return result


def collect_images(inputs: Sequence[str | Path]) -> dict[Path, Path]:
    """Image files among ``inputs``, each with the relative path that names its results.

    Raises:
        InputError: when an input does not exist, is no image by its name, or is a folder without images.
    """
    found: dict[Path, Path] = {}
    for entry in map(Path, inputs):
        if entry.is_dir():
            inside = sorted(path for path in entry.rglob('*') if path.suffix.lower() in IMAGE_SUFFIXES)
            inside = [path for path in inside if not _is_drawn_result(path)]
            if not inside:
                raise InputError(f'folder {entry} holds no image ({", ".join(IMAGE_SUFFIXES)}).')
            found.update({path: path.relative_to(entry) for path in inside if path not in found})
        else:
            path = require_file(entry, 'image')
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                raise InputError(f'{path} is not an image by its name; expected one of {", ".join(IMAGE_SUFFIXES)}.')
            found.setdefault(path, Path(path.name))
    if not found:
        raise InputError('no images were given.')
    return found


def _is_drawn_result(path: Path) -> bool:
    """Whether a picture was drawn by :func:`predict` itself: it ends so, and its JSON lies beside it."""
    stem, ending, _ = path.name.rpartition('_boxes.png')
    return bool(ending) and path.with_name(f'{stem}.json').is_file()


def _name_outputs(images: Mapping[Path, Path]) -> dict[Path, Path]:
    """Drop the suffix of each result name where that leaves it unique; number what is still double."""
    stems = Counter(name.with_suffix('') for name in images.values())
    names = {path: name.with_suffix('') if stems[name.with_suffix('')] == 1 else name for path, name in images.items()}
    seen: Counter[Path] = Counter()
    for path, name in names.items():
        seen[name] += 1
        if seen[name] > 1:
            names[path] = name.with_name(f'{name.name}_{seen[name]}')
    return names


def _labels(names: Sequence[str], known: Sequence[str]) -> list[int]:
    """Labels of class names."""
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f' It knows {", ".join(known)}.'
            raise ClassMismatchError(f'class {name!r} is not one that this model detects.{hint}')
    return [list(known).index(name) for name in names]


def _with_suffix(target: Path, suffix: str) -> Path:
    # Path.with_suffix would cut a name such as P0001.v2 short.
    return target.with_name(target.name + suffix)


def _write(prediction: ImagePrediction, target: Path, draw: bool) -> None:
    """Write the results of one image; the JSON comes last, since its presence means done."""
    write_text(_with_suffix(target, '.txt'), prediction.to_dota())
    if draw:
        _draw(prediction, _with_suffix(target, '_boxes.png'))
    write_json(_with_suffix(target, '.json'), prediction.to_dict())


def _draw(prediction: ImagePrediction, path: Path) -> None:
    from ..visualization import draw_oriented_boxes

    drawn = draw_oriented_boxes(
        prediction.image(),
        prediction.boxes,
        labels=prediction.labels,
        scores=prediction.scores,
        classes=prediction.classes,
    )
    if not cv2.imwrite(str(path), drawn[..., ::-1]):
        raise OSError(f'picture {path} could not be written.')
