"""Image loading that says what is wrong with a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmcv
import mmengine.fileio as fileio
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS

from stn_det.errors import ConfigError, ImageError

from ..formats.image_files import is_plain, truncation_problem

_EXTRA_BANDS = ('error', 'drop')


@TRANSFORMS.register_module()
class LoadCheckedImage(LoadImageFromFile):
    """Load an image as mmcv does, and refuse what would otherwise pass unnoticed.

    A missing, empty, cut-short or undecodable file, an image of another size than its annotation says, 16-bit and
    float images, and a fourth band that is not an opaque alpha channel all raise ``ImageError``. mmcv and OpenCV turn
    a 16-bit image black and drop a near-infrared band without a word.

    Args:
        to_float32: Whether to return float32 instead of uint8.
        color_type: As for mmcv: 'color' gives three channels BGR, 'grayscale' one, 'unchanged' what the file holds.
            With 'unchanged' nothing is converted and depth and bands are not checked.
        imdecode_backend: Decoder, as for mmcv.
        value_range: ``(low, high)`` of the values to spread over 0..255 for images of more than 8 bits; what lies
            outside is clipped and NaN becomes 0. None refuses such images.
        extra_bands: What to do with a fourth band: 'error' or 'drop'.
        check_size: Whether to compare the size with ``height`` and ``width`` of the annotation.
        backend_args: Arguments of the file backend, as for mmcv.

    Raises:
        ConfigError: An argument is out of range.
        ImageError: The file cannot be used.
    """

    def __init__(
        self,
        to_float32: bool = False,
        color_type: str = 'color',
        imdecode_backend: str = 'cv2',
        value_range: Sequence[float] | None = None,
        extra_bands: str = 'error',
        check_size: bool = True,
        backend_args: dict | None = None,
    ) -> None:
        super().__init__(
            to_float32=to_float32, color_type=color_type, imdecode_backend=imdecode_backend, backend_args=backend_args
        )
        if value_range is not None and (len(value_range) != 2 or not value_range[0] < value_range[1]):
            raise ConfigError(
                f'LoadCheckedImage: value_range is {value_range!r}, expected (low, high) with low < high.'
            )
        if extra_bands not in _EXTRA_BANDS:
            raise ConfigError(f'LoadCheckedImage: extra_bands is {extra_bands!r}, expected one of {_EXTRA_BANDS}.')
        self.value_range = value_range
        self.extra_bands = extra_bands
        self.check_size = check_size

    def transform(self, results: dict) -> dict:
        """Load ``img_path`` into ``img``, and set ``img_shape`` and ``ori_shape`` to ``(height, width)``."""
        path = str(results['img_path'])
        content = self._read(path)
        image = self._decode(content, path)
        if self.check_size:
            _check_size(image, results, path)
        if self.to_float32:
            image = image.astype(np.float32)
        results['img'] = image
        results['img_shape'] = image.shape[:2]
        results['ori_shape'] = image.shape[:2]
        return results

    def _read(self, path: str) -> bytes:
        try:
            content = fileio.get(path, backend_args=self.backend_args)
        except FileNotFoundError as error:
            folder = Path(path).parent
            hint = '' if folder.exists() else f' Its folder {folder} does not exist either.'
            raise ImageError(
                f'image {path} does not exist.{hint} Check data_root and data_prefix=dict(img_path=...).'
            ) from error
        except OSError as error:
            raise ImageError(f'image {path} cannot be read: {error}. Check the path and its permissions.') from error
        if not content:
            raise ImageError(f'image {path} is empty (0 bytes). Copy it again, or remove it with its label.')
        return content

    def _decode(self, content: bytes, path: str) -> np.ndarray:
        problem = truncation_problem(content)
        if problem is not None:
            raise ImageError(
                f'image {path} ({len(content)} bytes) is cut short: {problem}. '
                'Copy or download it again, or remove it with its label.'
            )
        if self.color_type != 'unchanged' and not is_plain(content):
            raw = self._imfrombytes(content, 'unchanged', path)
            if raw.dtype != np.uint8:
                return self._spread(_three_bands(raw, path, self.extra_bands), path)
            _three_bands(raw, path, self.extra_bands)
        return self._imfrombytes(content, self.color_type, path)

    def _imfrombytes(self, content: bytes, flag: str, path: str) -> np.ndarray:
        reason = 'the decoder gives nothing'
        try:
            image = mmcv.imfrombytes(content, flag=flag, backend=self.imdecode_backend)
        except Exception as error:  # decoders raise their own kinds
            image, reason = None, str(error)
        if image is None:
            raise ImageError(
                f'image {path} ({len(content)} bytes) cannot be decoded: {reason}. Expected PNG, JPEG, TIFF or BMP. '
                'Copy or convert it again, or remove it with its label.'
            )
        return image

    def _spread(self, image: np.ndarray, path: str) -> np.ndarray:
        """Bring more than 8 bits to uint8 and to the channels asked for."""
        if self.value_range is None:
            finite = image[np.isfinite(image)]
            low, high = (finite.min(), finite.max()) if finite.size else (0, 0)
            raise ImageError(
                f'image {path} holds {image.dtype} values from {low} to {high}, expected 8 bits. Convert it, or say '
                f"what to spread over 0..255: dict(type='{type(self).__name__}', value_range=({low}, {high}))."
            )
        low, high = self.value_range
        scaled = (np.nan_to_num(image.astype(np.float64), nan=low, posinf=high, neginf=low) - low) * (
            255 / (high - low)
        )
        image = scaled.clip(0, 255).round().astype(np.uint8)
        if self.color_type == 'grayscale':
            return image if image.ndim == 2 else mmcv.bgr2gray(image)
        return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(to_float32={self.to_float32}, color_type={self.color_type!r}, '
            f'imdecode_backend={self.imdecode_backend!r}, value_range={self.value_range}, '
            f'extra_bands={self.extra_bands!r}, check_size={self.check_size}, backend_args={self.backend_args})'
        )


def _three_bands(image: np.ndarray, path: str, extra_bands: str) -> np.ndarray:
    """Return an image ``(H, W)`` or ``(H, W, C)`` with one or three bands; an opaque alpha channel may be dropped."""
    bands = 1 if image.ndim == 2 else image.shape[2]
    if bands in (1, 3):
        return image.reshape(image.shape[:2]) if bands == 1 else image
    is_opaque = (
        bands == 4
        and np.issubdtype(image.dtype, np.integer)
        and bool((image[..., 3] == np.iinfo(image.dtype).max).all())
    )
    if bands > 3 and (is_opaque or extra_bands == 'drop'):
        return image[..., :3]
    raise ImageError(
        f'image {path} has {bands} bands, expected 1 or 3. Choose three and save them, '
        "or use the first three by extra_bands='drop' where the image is loaded."
    )


def _check_size(image: np.ndarray, results: dict[str, Any], path: str) -> None:
    height, width = results.get('height'), results.get('width')
    if height is None or width is None or tuple(image.shape[:2]) == (height, width):
        return
    swapped = ' They are swapped; the file may carry an EXIF rotation.' if image.shape[:2] == (width, height) else ''
    raise ImageError(
        f'image {path} is {image.shape[1]}x{image.shape[0]} pixels (width x height), its annotation says '
        f'{width}x{height}.{swapped} Boxes would not fit: use the image that was labelled, or correct the annotation.'
    )
