"""Finds the second sensor's image of each image, and reads what is known about how the two lie to each other."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from stn_det.errors import AnnotationError, ConfigError, DatasetError

from .formats.image_files import index_images

_MISSING = ('error', 'drop')
NUM_NAMED = 3  # how many files a message names before it counts the rest


class SecondSensor:
    """The images of a second sensor, found by the names of the first sensor's.

    The second image of ``a/x_co.png`` is the image named ``a/x_ir`` (any suffix of an image file) below ``folder``, for
    ``suffixes=('_co', '_ir')``; with empty suffixes, the image of the same name.

    Args:
        folder: Folder with the second images; it may be the folder of the first.
        first_folder: Folder that the first images' names are relative to.
        suffixes: Endings of the names, before the file suffix, of first and second images.
        missing: What to do with images that have no second image: 'error' or 'drop' them.
        meta_folder: Folder of JSON files named like the first images without their ending, as the scene generator
            writes them: ``{"second": {"second_from_first": 3x3}}`` maps points of the first image to the second, in
            pixels. None: nothing is known.

    Raises:
        ConfigError: An option is not usable.
    """

    def __init__(
        self,
        folder: str,
        first_folder: str,
        suffixes: Sequence[str] = ('', ''),
        missing: str = 'error',
        meta_folder: str | None = None,
    ) -> None:
        if isinstance(suffixes, str) or len(suffixes) != 2 or not all(isinstance(ending, str) for ending in suffixes):
            raise ConfigError(
                f"pair_suffixes is {suffixes!r}, expected the endings of both sensors' names: ('_co', '_ir')."
            )
        if missing not in _MISSING:
            raise ConfigError(f'missing_second is {missing!r}, expected one of {_MISSING}.')
        if Path(folder).resolve() == Path(first_folder).resolve() and suffixes[0] == suffixes[1]:
            raise ConfigError(
                f'both sensors have their images in {folder} under the same names, so each image would be its own '
                "second one. Tell them apart with pair_suffixes=('_co', '_ir'), or correct second_img_path."
            )
        self.folder = Path(folder)
        self.first_folder = Path(first_folder)
        self.first_suffix, self.second_suffix = suffixes
        self.missing = missing
        self.meta_folder = None if meta_folder is None else Path(meta_folder)
        self._indices: dict[Path, dict[str, str]] = {}

    def select_first(self, images: dict[str, str]) -> dict[str, str]:
        """Of a folder that may hold both sensors' images, take the first sensor's and name them without the ending.

        Args:
            images: Path by stem.

        Returns:
            Path by stem without the first sensor's ending.

        Raises:
            DatasetError: No image has the ending.
        """
        chosen = {
            stem.removesuffix(self.first_suffix): path
            for stem, path in images.items()
            if stem.endswith(self.first_suffix)
        }
        if images and not chosen:
            raise DatasetError(
                f'none of the {len(images)} images in {self.first_folder} has a name that ends in '
                f"'{self.first_suffix}', as pair_suffixes says of the first sensor. Correct pair_suffixes."
            )
        return chosen

    def add_to(self, data_list: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Give each data info its ``second_img_path`` and, where it is known, ``second_from_first``.

        Args:
            data_list: Data infos with ``img_path``, changed in place.

        Returns:
            The data infos that have a second image.

        Raises:
            DatasetError: Second images or their folder are missing.
            AnnotationError: A JSON file cannot be read or holds no usable matrix.
        """
        kept, missing = [], []
        for info in data_list:
            name = self._common_name(info['img_path'])
            path = None if name is None else self._find(name)
            if path is None:
                missing.append(info['img_path'])
                continue
            info['second_img_path'] = path
            if self.meta_folder is not None:
                info['second_from_first'] = read_misalignment((self.meta_folder / name).with_name(f'{name.name}.json'))
            kept.append(info)
        self._report(missing, len(data_list))
        return kept

    def _common_name(self, path: str) -> Path | None:
        """Name of an image below its folder that both sensors share, or None for one that is not the first sensor's."""
        file = Path(path)
        if not file.stem.endswith(self.first_suffix):
            return None
        name = file.stem.removesuffix(self.first_suffix)
        is_below = file.is_relative_to(self.first_folder)
        return (file.relative_to(self.first_folder) if is_below else Path(file.name)).with_name(name)

    def _find(self, name: Path) -> str | None:
        folder = self.folder / name.parent
        if folder not in self._indices:
            if not folder.is_dir():
                raise DatasetError(
                    f'folder {folder} with the images of the second sensor does not exist. Check data_root and '
                    'data_prefix=dict(second_img_path=...).'
                )
            self._indices[folder] = index_images(str(folder))
        return self._indices[folder].get(name.name + self.second_suffix)

    def _report(self, missing: list[str], total: int) -> None:
        if not missing:
            return
        rest = f' and {len(missing) - NUM_NAMED} more' if len(missing) > NUM_NAMED else ''
        what = (
            f'{len(missing)} of {total} images have no image of the second sensor in {self.folder}: '
            f'{", ".join(missing[:NUM_NAMED])}{rest}'
        )
        if self.missing == 'error':
            wanted = Path(missing[0]).stem.removesuffix(self.first_suffix) + self.second_suffix
            raise DatasetError(
                f'{what}. Expected {wanted}.png or another image of that name. Add it, leave such images out with '
                "missing_second='drop', or correct second_img_path or pair_suffixes."
            )
        print_log(f'{what}; they are left out.', logger='current', level=logging.WARNING)


def read_misalignment(path: Path) -> np.ndarray:
    """Read ``second_from_first`` of a pair.

    Convention:
        ``second_from_first @ (x, y, 1)``; continuous pixels of the two image files.

    Args:
        path: JSON file, ``{"second": {"second_from_first": 3x3}}``.

    Returns:
        ``(3, 3)`` float64.

    Raises:
        AnnotationError: The file is missing, no JSON, or holds no invertible 3x3 matrix.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise AnnotationError(
            f'{path} cannot be read: {error}. Expected JSON with second.second_from_first; without '
            'second_meta_path in data_prefix no such file is needed.'
        ) from error
    second = content.get('second') if isinstance(content, dict) else None
    matrix = second.get('second_from_first') if isinstance(second, dict) else None
    try:
        values = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.zeros(0)
    if values.shape != (3, 3) or not np.isfinite(values).all() or abs(np.linalg.det(values)) < 1e-12:
        raise AnnotationError(
            f'{path}: second.second_from_first is {matrix!r}, expected an invertible matrix of 3x3 finite numbers '
            'that maps pixels of the first image to the second. Correct it, or drop second_meta_path.'
        )
    return values
