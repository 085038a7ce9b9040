"""Render the contact sheet of generated scenes, ``docs/images/scenes.jpg``.

Rows: scenes as a person sees them, scenes with their labels (red edge: front), and pairs of first and second sensor.

    python docs/make_scene_sheet.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from stn_det.datasets.scenes import Scene, SceneConfig, SceneObject, generate_scene

SIDE = 512
"""Side of a generated scene in pixels."""

PLAIN = (
    ('airfield', 21), ('harbour', 3), ('parking', 31), ('tank-farm', 32),
    ('sports', 21), ('industrial', 8), ('airfield', 3), ('residential', 31),
    ('harbour', 31), ('parking', 3), ('sea', 13), ('rural', 8),
)  # fmt: skip
BOXED = (('harbour', 32), ('tank-farm', 3), ('airfield', 5), ('sports', 3))
PAIRS = (('tank-farm', 31, 'infrared'), ('harbour', 7, 'sar'))


def shrink(image: np.ndarray, side: int) -> np.ndarray:
    """The image at ``side`` pixels."""
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)


def draw_boxes(image: np.ndarray, objects: list[SceneObject], side: int) -> np.ndarray:
    """The image at ``side`` pixels with each label's box in yellow (difficult ones in magenta), its front in red."""
    drawn = shrink(image, side)
    for item in objects:
        points = np.round((item.corners * side / SIDE - 0.5) * 16).astype(np.int32)
        colour = (255, 60, 255) if item.difficult else (255, 225, 40)
        cv2.polylines(drawn, [points], True, colour, 1, cv2.LINE_AA, 4)
        cv2.polylines(drawn, [points[:2]], False, (255, 50, 40), 1, cv2.LINE_AA, 4)
    return drawn


def make(kind: str, seed: int, second: str | None = None) -> Scene:
    """One scene of a kind."""
    return generate_scene(SceneConfig(size=(SIDE, SIDE), kinds={kind: 1.0}, second=second), seed)


def sheet(side: int) -> np.ndarray:
    """The whole sheet as (H, W, 3) uint8 RGB with pictures of ``side`` pixels."""
    tiles = [shrink(make(kind, seed).image, side) for kind, seed in PLAIN]
    for kind, seed in BOXED:
        scene = make(kind, seed)
        tiles.append(draw_boxes(scene.image, scene.objects, side))
    for kind, seed, sensor in PAIRS:
        scene = make(kind, seed, sensor)
        if scene.second is not None:
            tiles += [shrink(scene.image, side), draw_boxes(scene.second.image, scene.second.objects, side)]
    gap = 6
    framed = [cv2.copyMakeBorder(tile, 0, gap, 0, gap, cv2.BORDER_CONSTANT, value=(255,) * 3) for tile in tiles]
    rows = [np.hstack(framed[start : start + 4]) for start in range(0, len(framed), 4)]
    return np.vstack(rows)[:-gap, :-gap]


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path(__file__).parent / 'images' / 'scenes.jpg')
    parser.add_argument('--side', type=int, default=380, help='side of one picture in pixels')
    parser.add_argument('--quality', type=int, default=82, help='JPEG quality')
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    picture = sheet(arguments.side)
    cv2.imwrite(str(arguments.out), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, arguments.quality])
    print(f'{arguments.out}: {picture.shape[1]} x {picture.shape[0]}, {arguments.out.stat().st_size / 1e3:.0f} kB')


if __name__ == '__main__':
    main()
