"""Handwritten digits: those of scikit-learn, which need no download, or MNIST from a folder of its user."""

from __future__ import annotations

import gzip
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from stn_det.errors import InputError, MissingDependencyError
from stn_det.geometry import scaling, translation
from stn_det.geometry.warp import MatrixWarp

FRAME, DIGIT = 28, 20  # pixels: MNIST's images, and the digits in them
TEST_DIGITS = 597  # of scikit-learn's 1797; drawn by a fixed seed
VALIDATION = 6  # of the training digits, one in so many is kept for the choice of settings


class Digits(NamedTuple):
    """Images (n, 1, 28, 28) float32 in [0, 1] and labels (n,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, rows: Tensor) -> Digits:
        """Some of them."""
        return Digits(self.images[rows], self.labels[rows])


def load(mnist: Path | None, validate: bool) -> tuple[Digits, Digits]:
    """Digits to train on and to measure on.

    Args:
        mnist: Folder of the four files of MNIST; scikit-learn's digits if None.
        validate: Measure on digits taken away from the training set; the test set is not read.
    """
    train, test = _sklearn_digits() if mnist is None else (_mnist(mnist, 'train'), _mnist(mnist, 't10k'))
    if not validate:
        return train, test
    rows = torch.arange(len(train))
    return train.at(rows[rows % VALIDATION > 0]), train.at(rows[rows % VALIDATION == 0])


def _sklearn_digits() -> tuple[Digits, Digits]:
    """1,200 and 597 digits of 8 x 8 pixels, enlarged to 20 x 20 in the middle of 28 x 28 as those of MNIST."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingDependencyError(
            "the digits are scikit-learn's, which is not installed; pip install 'stn-det[bench]', or pass --mnist"
        ) from error
    found = load_digits()
    images = torch.from_numpy(found.images).float()[:, None] / 16
    scale, margin = DIGIT / images.shape[-1], (FRAME - DIGIT) / 2
    enlarge = MatrixWarp((translation(margin, margin) @ scaling(scale, scale)).expand(len(images), 3, 3), 8, FRAME)
    digits = Digits(enlarge.transform_images(images), torch.from_numpy(found.target).long())
    rows = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
    return digits.at(rows[TEST_DIGITS:]), digits.at(rows[:TEST_DIGITS])


def _mnist(folder: Path, part: str) -> Digits:
    """60,000 or 10,000 digits of 28 x 28 pixels."""
    images = read_idx(_find(folder, f'{part}-images', 3))
    labels = read_idx(_find(folder, f'{part}-labels', 1))
    if images.shape != (len(labels), FRAME, FRAME) or labels.dim() != 1:
        raise InputError(
            f'{folder}: {part} holds images {tuple(images.shape)} and labels {tuple(labels.shape)}, expected '
            f'(n, {FRAME}, {FRAME}) and (n,)'
        )
    return Digits(images[:, None].float() / 255, labels.long())


def _find(folder: Path, stem: str, dimensions: int) -> Path:
    names = [f'{stem}{dot}idx{dimensions}-ubyte{end}' for dot in '-.' for end in ('', '.gz')]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f'{folder} has no {names[0]}, also not as .gz; expected the four files of MNIST')


def read_idx(path: Path) -> Tensor:
    """Array of bytes in a file of MNIST's format: two zeros, type, number of dimensions, sizes, values.

    Raises:
        InputError: If the file is of another format or cut short.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == '.gz' else path.read_bytes()
    except (OSError, EOFError) as error:
        raise InputError(f'{path} cannot be unpacked: {error}') from error
    if len(data) < 4 or data[:3] != b'\0\0\x08':
        raise InputError(f'{path} begins with {data[:4].hex()}, expected 000008: bytes in the idx format of MNIST')
    header = 4 + 4 * data[3]
    shape = [int.from_bytes(data[start : start + 4], 'big') for start in range(4, header, 4)]
    if len(data) != header + prod(shape):
        raise InputError(f'{path} has {len(data)} bytes, expected {header + prod(shape)} for {shape}; fetch it again')
    return torch.frombuffer(bytearray(data[header:]), dtype=torch.uint8).view(shape)
