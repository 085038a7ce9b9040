"""Stack the pictures that ``WarpPictureHook`` drew over a training, ``docs/images/training.jpg``.

python docs/make_training_picture.py 'work_dirs/stn_scenes/runs/stn_(0)/warps' --epochs 0 1 3 8
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

WIDTH = 1300  # pixels
GAP = 6  # pixels between the rows, as between those of the hook


def rows(folder: Path, epochs: list[int]) -> list[np.ndarray]:
    """What goes in, and what comes out after each epoch, (h, w, 3) BGR each.

    Raises:
        SystemExit: If a picture is not there.
    """
    found = []
    for epoch in epochs:
        path = folder / f'epoch_{epoch}.jpg'
        picture = cv2.imread(str(path))
        if picture is None:
            raise SystemExit(f'{path} is no picture; expected one that WarpPictureHook drew')
        half = (picture.shape[0] - GAP) // 2
        if not found:
            found.append(labelled(picture[:half], 'in'))
        found.append(labelled(picture[half + GAP :], 'before training' if epoch == 0 else f'epoch {epoch}'))
    return found


def labelled(row: np.ndarray, name: str) -> np.ndarray:
    """A row scaled to the width of the picture, with its name in the corner and a gap below."""
    row = cv2.resize(row, (WIDTH, round(row.shape[0] * WIDTH / row.shape[1])), interpolation=cv2.INTER_AREA)
    cv2.rectangle(row, (0, 0), (14 + 10 * len(name), 24), (0, 0, 0), -1)
    cv2.putText(row, name, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.53, (255, 255, 255), 1, cv2.LINE_AA)
    return cv2.copyMakeBorder(row, 0, GAP, 0, 0, cv2.BORDER_CONSTANT, value=(255,) * 3)


def main() -> None:
    """Parse the command line and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path, help='warps/ of a work directory')
    parser.add_argument('--epochs', type=int, nargs='+', default=[0, 1, 3, 8])
    parser.add_argument('--out', type=Path, default=Path(__file__).parent / 'images' / 'training.jpg')
    options = parser.parse_args()
    picture = np.concatenate(rows(options.folder, options.epochs))[:-GAP]
    cv2.imwrite(str(options.out), picture, [cv2.IMWRITE_JPEG_QUALITY, 76])
    print(options.out)


if __name__ == '__main__':
    main()
