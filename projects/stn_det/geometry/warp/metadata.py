"""The warp that brings an image into a common view, from what its metadata say of the camera."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from stn_det.errors import InputError

KNOWN = ('gsd', 'off_nadir', 'tilt_azimuth', 'north')


def canonical_from_metadata(
    metadata: Mapping[str, float], target_gsd: float | None = None, input_from_image: Tensor | None = None
) -> Tensor:
    """Linear map from an image to a view straight down, north up, at a common ground sample distance.

    An oblique parallel view shortens the ground by ``cos(off_nadir)`` along the direction of tilt; the map takes that
    back. Relief cannot be undone by a warp of the plane.

    Args:
        metadata: Any of ``gsd`` (metres per pixel across the line of sight), ``off_nadir`` (degrees from the vertical),
            ``tilt_azimuth`` (direction of the line of sight in the image, degrees clockwise from up) and ``north``
            (direction of north in the image, likewise). What is missing counts as right already.
        target_gsd: Metres per pixel wanted; needs ``gsd``. None keeps the scale.
        input_from_image: (3, 3) affine map that a pipeline has applied to the image since, such as the
            ``homography_matrix`` of mmdet's transforms. A mirrored image has the mirrored view as its common one.

    Returns:
        (2, 2) float64, canonical from network input; it acts about any centre.

    Raises:
        InputError: If a value is out of range, or one that is needed is missing.
    """
    _check(metadata, target_gsd)
    turn = _rotation(-metadata.get('north', 0.0))
    tilt, along = math.cos(math.radians(metadata.get('off_nadir', 0.0))), _rotation(metadata.get('tilt_azimuth', 0.0))
    # in the frame of the tilt, up is the direction that is shortened
    stretch = along @ torch.diag(torch.tensor([1.0, 1.0 / tilt], dtype=torch.float64)) @ along.mT
    scale = 1.0 if target_gsd is None else metadata['gsd'] / target_gsd
    canonical_from_image = scale * turn @ stretch
    if input_from_image is None:
        return canonical_from_image
    linear = torch.as_tensor(input_from_image, dtype=torch.float64)[:2, :2]
    canonical = canonical_from_image @ torch.linalg.inv(linear)
    if torch.linalg.det(linear) < 0:
        canonical = torch.diag(torch.tensor([-1.0, 1.0], dtype=torch.float64)) @ canonical
    return canonical


def _check(metadata: Mapping[str, float], target_gsd: float | None) -> None:
    if not any(name in metadata for name in KNOWN):
        raise InputError(f'metadata hold {sorted(metadata)}, expected at least one of {", ".join(KNOWN)}')
    if target_gsd is not None and not (target_gsd > 0 and metadata.get('gsd', 0) > 0):
        raise InputError(
            f'target_gsd is {target_gsd!r} and gsd {metadata.get("gsd")!r}, expected metres per pixel above 0 for both'
        )
    if not 0 <= metadata.get('off_nadir', 0) < 85:
        raise InputError(f'off_nadir is {metadata["off_nadir"]!r}, expected degrees from the vertical, 0 to below 85')
    if metadata.get('off_nadir', 0) > 0 and 'tilt_azimuth' not in metadata:
        raise InputError(
            'off_nadir is given without tilt_azimuth, expected the direction in which the camera is tilted'
        )


def _rotation(degrees: float) -> Tensor:
    """Rotation (2, 2), clockwise on screen: it takes up to the azimuth given."""
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    return torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
