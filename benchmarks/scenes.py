"""Scenes per second: processor time of one process, and a dataset written with two workers.

    python benchmarks/scenes.py

Prints the figures and writes them to ``benchmarks/results/scenes.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stn_det.datasets.scenes import GENERATOR_VERSION, SceneConfig, generate_scene, write_scenes
from stn_det.datasets.scenes.writer import encode_png


def per_scene(config: SceneConfig, count: int) -> dict[str, float]:
    """Median and quartiles of the processor time in ms for one scene in one thread, PNG included."""
    cv2.setNumThreads(1)
    for seed in range(20):
        generate_scene(config, (9, seed))
    times = []
    for seed in range(count):
        start = time.process_time()
        encode_png(generate_scene(config, (0, seed)).image)
        times.append((time.process_time() - start) * 1e3)
    low, middle, high = statistics.quantiles(times, n=4)
    return {'mean_ms': statistics.fmean(times), 'median_ms': middle, 'q1_ms': low, 'q3_ms': high}


def written(config: SceneConfig, count: int, workers: int, rounds: int) -> dict[str, Any]:
    """Wall-clock rate of ``write_scenes``, start of the workers included: every round's and the median."""
    rates = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            write_scenes(folder, count, config, workers=workers)
            rates.append(count / (time.perf_counter() - start))
            size = sum(path.stat().st_size for path in Path(folder).rglob('*.png'))
    return {
        'images': count,
        'workers': workers,
        'images_per_s': statistics.median(rates),
        'images_per_s_of_rounds': rates,
        'png_kb': size / count / 1e3,
    }


def main() -> None:
    """Run both measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=400, help='written in each round')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--out', type=Path, default=Path(__file__).parent / 'results' / 'scenes.json')
    arguments = parser.parse_args()
    config = SceneConfig()
    result: dict[str, Any] = {
        'command': f'python benchmarks/scenes.py --images {arguments.images} --rounds {arguments.rounds}',
        'size': list(config.size),
        'generator_version': GENERATOR_VERSION,
        'cpu_count': os.cpu_count(),
        'load_average': list(os.getloadavg()),
        'processor_time': per_scene(config, arguments.images),
        'written': written(config, arguments.images, 2, arguments.rounds),
        'python': platform.python_version(),
        'numpy': np.__version__,
        'opencv': cv2.__version__,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + '\n')
    print(json.dumps(result, indent=2))


if __name__ == '__main__':
    main()
