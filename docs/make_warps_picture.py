"""Render a scene under each family of warps, with its grid and its labels, ``docs/images/warps.jpg``.

python docs/make_warps_picture.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from stn_det.datasets.scenes import SceneConfig, generate_scene
from stn_det.geometry import qbox_to_rbox
from stn_det.geometry.warp import MatrixWarp, ThinPlateWarp, Warp
from stn_det.visualization import draw_oriented_boxes, draw_warp_grid

SIDE = 360
PARAMETERS = {
    'translation': [0.25, -0.15],
    'rotation': [0.45],
    'similarity': [-0.4, -0.3, 0.1, 0.0],
    'affine': [0.2, -0.2, 0.3, 0.15, 0.0, 0.0],
    'homography': [0.1, -0.15, 0.0, 0.0, 0.0, 0.0, 0.12, 0.15],
}


def warps() -> dict[str, Warp]:
    """One warp of each family, and the identity."""
    size = (SIDE, SIDE)
    found: dict[str, Warp] = {'image and labels': MatrixWarp.identity(1, size)}
    for family, values in PARAMETERS.items():
        found[family] = MatrixWarp.from_parameters(torch.tensor([values]), family, size)
    displacements = 0.07 * torch.randn(1, 16, 2, generator=torch.Generator().manual_seed(5))
    found['thin plate'] = ThinPlateWarp(displacements, size)
    return found


def panel(name: str, warp: Warp, image: torch.Tensor, boxes: torch.Tensor) -> np.ndarray:
    """A warped image with grid, labels and name, (SIDE, SIDE, 3) uint8 RGB."""
    moved = warp.transform_images(image)[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()
    drawn = draw_warp_grid(moved, warp, lines=7)
    drawn = draw_oriented_boxes(drawn, warp.transform_rboxes(boxes)[0], thickness=2, heading=False)
    cv2.rectangle(drawn, (0, 0), (9 + 9 * len(name), 21), (0, 0, 0), -1)
    cv2.putText(drawn, name, (5, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.48, (255, 255, 255), 1, cv2.LINE_AA)
    return drawn


def draw(out: Path, quality: int = 85) -> None:
    """Write the picture: two rows of four, the last one shows the inverse of the spline."""
    scene = generate_scene(SceneConfig(size=(SIDE, SIDE), gsd=(0.3, 0.3), kinds={'airfield': 1.0}), 7)
    image = torch.from_numpy(scene.image.copy()).permute(2, 0, 1)[None].float()
    corners = np.stack([item.corners.reshape(8) for item in scene.objects])
    boxes = qbox_to_rbox(torch.from_numpy(corners)).float()[None]
    found = warps()
    panels = [panel(name, warp, image, boxes) for name, warp in found.items()]
    panels.append(panel('thin plate, inverse', found['thin plate'].inverse(), image, boxes))
    framed = [cv2.copyMakeBorder(one, 0, 6, 0, 6, cv2.BORDER_CONSTANT, value=(255,) * 3) for one in panels]
    picture = np.vstack([np.hstack(framed[:4]), np.hstack(framed[4:])])[:-6, :-6]
    out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path(__file__).parent / 'images' / 'warps.jpg')
    arguments = parser.parse_args()
    draw(arguments.out)
    print(arguments.out)


if __name__ == '__main__':
    main()
