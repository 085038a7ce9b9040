"""Writes scenes as a dataset in DOTA's layout: resumable, whole files only, the same for any number of workers."""

from __future__ import annotations

import json
import multiprocessing
import os
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from stn_det.datasets.scenes.config import SceneConfig
from stn_det.datasets.scenes.generator import GENERATOR_VERSION, generate_scene
from stn_det.datasets.scenes.labels import to_dota_text
from stn_det.datasets.scenes.records import Scene
from stn_det.errors import DatasetError, ImageError, InputError

_INDEX = 'scenes.json'

# Sensor noise leaves nothing to find by matching: coding alone is faster, and smaller too. One filter for all rows
# takes 7 ms where a choice in each row takes 13, for 9 % more bytes (OpenCV below 4.11 has no such setting).
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]
if hasattr(cv2, 'IMWRITE_PNG_FILTER'):
    _PNG += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]


def scene_name(index: int) -> str:
    """File stem of a scene, as in DOTA: ``P00042``."""
    return f'P{index:05d}'


def write_scenes(
    out_dir: str | os.PathLike[str],
    num_images: int,
    config: SceneConfig | None = None,
    seed: int = 0,
    workers: int = 2,
    progress: bool = True,
) -> Path:
    """Write scenes 0 to ``num_images - 1`` of a dataset; scenes that are already there are kept.

    Files: ``images/P00000.png``, ``labelTxt/P00000.txt``, ``meta/P00000.json``, with a second sensor also
    ``images_second/`` and ``labelTxt_second/``, and ``scenes.json`` with the config and seed. The image is written last
    and moved into place whole, so an image that exists is a finished scene.

    Args:
        out_dir: Folder to write to; made when absent.
        num_images: How many scenes the folder shall hold.
        config: Settings; the defaults when None.
        seed: Seed of the dataset; scene ``index`` is drawn from ``(seed, index)``.
        workers: Processes to use; 1 or less works in this process. A script that asks for more must start from
            ``if __name__ == '__main__':``.
        progress: Show a progress bar.

    Returns:
        The folder.

    Raises:
        InputError: If a number is out of range.
        DatasetError: If the folder holds scenes of another config, seed or generator version.
    """
    config = SceneConfig() if config is None else config
    if num_images < 0:
        raise InputError(f'num_images is {num_images}; expected 0 or more')
    if seed < 0:
        raise InputError(f'seed is {seed}; expected 0 or more')
    out = Path(out_dir)
    _claim_folder(out, config, seed)
    missing = [index for index in range(num_images) if not _image_path(out, index).exists()]
    write = partial(_write_one, out, config, seed)
    bar = tqdm(total=num_images, initial=num_images - len(missing), desc='scenes', unit='image', disable=not progress)
    with bar:
        if workers <= 1 or len(missing) < 2:
            for index in missing:
                write(index)
                bar.update()
        else:
            context = multiprocessing.get_context('spawn')
            with context.Pool(min(workers, len(missing)), initializer=_start_worker) as pool:
                for _ in pool.imap_unordered(write, missing):
                    bar.update()
    return out


def _start_worker() -> None:
    """One thread per worker: the processes already share the cores."""
    cv2.setNumThreads(1)


def _image_path(out: Path, index: int) -> Path:
    return out / 'images' / f'{scene_name(index)}.png'


def _claim_folder(out: Path, config: SceneConfig, seed: int) -> None:
    """Make the folders and record what they hold, or check that they hold the same."""
    wanted: dict[str, Any] = {'generator_version': GENERATOR_VERSION, 'seed': seed, 'config': config.to_dict()}
    index = out / _INDEX
    if index.exists():
        try:
            found = json.loads(index.read_text())
        except json.JSONDecodeError as error:
            raise DatasetError(f'{index} is not valid JSON ({error}); remove the folder and write it again') from None
        if found != json.loads(json.dumps(wanted)):
            raise DatasetError(
                f'{out} holds scenes of another {_difference(found, wanted)}; use another folder or empty it'
            )
    elif (out / 'images').is_dir() and any((out / 'images').iterdir()):
        raise DatasetError(f'{out} holds images but no {_INDEX}; expected an empty folder or one of this generator')
    folders = ['images', 'labelTxt', 'meta']
    if config.second is not None:
        folders += ['images_second', 'labelTxt_second']
    for folder in folders:
        (out / folder).mkdir(parents=True, exist_ok=True)
    if not index.exists():
        _replace(index, (json.dumps(wanted, indent=2) + '\n').encode())


def _difference(found: Any, wanted: dict[str, Any]) -> str:
    """Name the first thing in which two records of a folder differ."""
    if not isinstance(found, dict):
        return 'generator'
    for key in ('generator_version', 'seed'):
        if found.get(key) != wanted[key]:
            return f'{key} ({found.get(key)!r}, not {wanted[key]!r})'
    there = found.get('config') or {}
    for key, value in wanted['config'].items():
        if there.get(key) != value:
            return f'config: {key} is {there.get(key)!r}, not {value!r}'
    return 'config'


def _replace(path: Path, data: bytes) -> None:
    """Write a file whole: to a temporary name beside it, then moved over it."""
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    temporary.write_bytes(data)
    os.replace(temporary, path)


def encode_png(image: np.ndarray) -> bytes:
    """PNG bytes of an (H, W, 3) uint8 RGB image."""
    done, data = cv2.imencode('.png', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _PNG)
    if not done:
        raise ImageError(f'an image of shape {image.shape} and type {image.dtype} could not be written as PNG')
    return data.tobytes()


def _write_one(out: Path, config: SceneConfig, seed: int, index: int) -> None:
    """Generate and write one scene, the image last."""
    scene = generate_scene(config, (seed, index))
    _write_scene(out, scene_name(index), scene)


def _write_scene(out: Path, name: str, scene: Scene) -> None:
    gsd = scene.meta['gsd']
    _replace(out / 'labelTxt' / f'{name}.txt', to_dota_text(scene.objects, gsd).encode())
    _replace(out / 'meta' / f'{name}.json', json.dumps(scene.meta).encode())
    if scene.second is not None:
        _replace(out / 'labelTxt_second' / f'{name}.txt', to_dota_text(scene.second.objects, gsd).encode())
        _replace(out / 'images_second' / f'{name}.png', encode_png(scene.second.image))
    _replace(out / 'images' / f'{name}.png', encode_png(scene.image))
