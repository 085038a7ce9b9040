"""What the readers of oriented boxes share, on top of mmdet's BaseDetDataset."""

import logging
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.datasets import BaseDetDataset
from mmengine.logging import print_log

from stn_det.errors import DatasetError

from .formats.classes import check_classes, check_unknown_class, make_palette, suggestion
from .paired_pipeline import check_paired_pipeline
from .second_sensor import NUM_NAMED, SecondSensor


def name_some(items: Sequence[str]) -> str:
    """Join the first few items for a message and count the rest."""
    rest = len(items) - NUM_NAMED
    return ', '.join(items[:NUM_NAMED]) + (f' and {rest} more' if rest > 0 else '')


def outside_image(corners: np.ndarray, width: int, height: int) -> np.ndarray:
    """Tell which boxes lie wholly outside the image.

    Args:
        corners: ``(N, 8)`` corners in pixels.
        width: Width of the image in pixels.
        height: Height of the image in pixels.

    Returns:
        ``(N,)`` bool; True where the axis-aligned extent of the box shares no area with the image.
    """
    points = corners.reshape(-1, 4, 2)
    low, high = points.min(axis=1), points.max(axis=1)
    size = np.array([width, height])
    return ((high <= 0) | (low >= size)).any(axis=1)


class OrientedDataset(BaseDetDataset):
    """Base of the readers: class names, subset lists, regions to ignore, filtering and the checks on the whole.

    Each instance is ``dict(bbox, bbox_label, ignore_flag, ignore_reason)``. ``ignore_flag`` 1 makes it a region that
    is neither positive nor negative; the reason is 'difficult', 'zero-area', 'outside', 'crowd' or 'ignore-class'.

    Args:
        img_list: Text file with one image name a line (with or without suffix), relative to ``data_root``; only
            these images are used. None uses all.
        unknown_class: 'error' raises for objects of other classes than ``metainfo['classes']``; 'ignore' leaves
            them out, and what they cover becomes background.
        ignore_difficult: Whether objects marked difficult become regions to ignore.
        pair_suffixes: Endings of the names of the two sensors' images, before the file suffix: ('_co', '_ir').
        missing_second: 'error' raises for images without an image of the second sensor; 'drop' leaves them out.
        **kwargs: As for ``mmdet.datasets.BaseDetDataset``. ``filter_cfg`` may hold ``filter_empty_gt`` (drop images
            without a positive) and ``min_size`` (smallest image side in pixels); both work outside test mode. With
            ``second_img_path`` in ``data_prefix`` the data info names the image of a second sensor, too; with
            ``second_meta_path`` also what is known of its misalignment, see ``SecondSensor``. Labels belong to the
            first sensor.

    Raises:
        ConfigError: The classes or an option are not usable.
        DatasetError: No image is left, or a file or folder is missing.
    """

    def __init__(
        self,
        *,
        img_list: str | None = None,
        unknown_class: str = 'error',
        ignore_difficult: bool = True,
        pair_suffixes: Sequence[str] = ('', ''),
        missing_second: str = 'error',
        **kwargs: Any,
    ) -> None:
        self.img_list = img_list
        self.unknown_class = check_unknown_class(unknown_class)
        self.ignore_difficult = ignore_difficult
        self.pair_suffixes = pair_suffixes
        self.missing_second = missing_second
        if 'second_img_path' in (kwargs.get('data_prefix') or {}):
            check_paired_pipeline(kwargs.get('pipeline') or [])
        super().__init__(**kwargs)

    @classmethod
    def _load_metainfo(cls, metainfo: Any = None) -> dict:
        """Read the class names and see that there is a colour for each."""
        loaded = super()._load_metainfo(metainfo)
        loaded['classes'] = check_classes(loaded.get('classes'))
        if len(loaded.get('palette') or ()) != len(loaded['classes']):
            loaded['palette'] = make_palette(len(loaded['classes']))
        return loaded

    @property
    def image_folder(self) -> str:
        """Folder that image names are relative to."""
        return self.data_prefix.get('img_path', self.data_prefix.get('img', '')) or ''

    @cached_property
    def second_sensor(self) -> SecondSensor | None:
        """The second sensor's images, or None where ``data_prefix`` has no ``second_img_path``."""
        folder = self.data_prefix.get('second_img_path')
        if folder is None:
            return None
        meta = self.data_prefix.get('second_meta_path')
        return SecondSensor(folder, self.image_folder, self.pair_suffixes, self.missing_second, meta)

    def add_second_images(self, data_list: list[dict]) -> list[dict]:
        """Give each data info the image of the second sensor, if there is one; the readers call it last."""
        return data_list if self.second_sensor is None else self.second_sensor.add_to(data_list)

    def get_cat_ids(self, idx: int) -> list[int]:
        """Labels of the positives of an image; regions to ignore do not count."""
        return [item['bbox_label'] for item in self.get_data_info(idx)['instances'] if not item['ignore_flag']]

    def filter_data(self) -> list[dict]:
        """Apply ``filter_cfg`` outside test mode, and refuse an empty dataset.

        Raises:
            DatasetError: No image is left.
        """
        if not self.data_list:
            raise DatasetError(self._empty_message('found no image', 'Check data_root, ann_file and data_prefix.'))
        if self.test_mode or not self.filter_cfg:
            return self.data_list
        need_positive = self.filter_cfg.get('filter_empty_gt', False)
        min_size = self.filter_cfg.get('min_size', 0)
        kept = [
            info
            for info in self.data_list
            if min(info.get('width') or min_size, info.get('height') or min_size) >= min_size
            and not (need_positive and all(item['ignore_flag'] for item in info['instances']))
        ]
        if not kept:
            reason = f'{len(self.data_list)} images, but none passes filter_cfg={dict(self.filter_cfg)}'
            raise DatasetError(
                self._empty_message(reason, 'Check that the labels hold boxes that are not all ignored.')
            )
        return kept

    def read_img_list(self) -> set[str] | None:
        """Return the names in ``img_list``, or None without one.

        Raises:
            DatasetError: The list is missing or holds no name.
        """
        if self.img_list is None:
            return None
        path = Path(self.img_list) if Path(self.img_list).is_absolute() else Path(self.data_root or '') / self.img_list
        if not path.is_file():
            raise DatasetError(f'{path}: img_list does not exist, expected a text file with one image name a line.')
        names = {line.strip() for line in path.read_text(encoding='utf-8').splitlines() if line.strip()}
        if not names:
            raise DatasetError(f'{path}: img_list names no image, expected one image name a line. Fill or drop it.')
        return names

    def reject_unlisted(self, missing: Iterable[str], known: Iterable[str]) -> None:
        """Raise for names of ``img_list`` that the dataset does not have.

        Raises:
            DatasetError: At least one name is missing.
        """
        names = sorted(missing)
        if names:
            raise DatasetError(
                f'{self.img_list}: {len(names)} listed images are not in {self.ann_file or self.image_folder}: '
                f'{name_some(names)}.{suggestion(names[0], known)} Correct img_list, or choose the list of this split.'
            )

    def mark_outside(self, instances: list[dict], corners: np.ndarray, size: tuple[int, int]) -> int:
        """Turn positives wholly outside the image into regions to ignore; returns how many.

        Args:
            instances: Instances of one image, changed in place.
            corners: ``(N, 8)`` corners of the same instances in pixels.
            size: ``(width, height)`` in pixels.
        """
        if not instances:
            return 0
        outside = outside_image(corners, *size)
        count = 0
        for item, is_outside in zip(instances, outside):
            if is_outside and not item['ignore_flag']:
                item.update(ignore_flag=1, ignore_reason='outside')
                count += 1
        return count

    def warn_once(self, what: str, places: Sequence[str]) -> None:
        """Log one line about all places where something was found, if there are any."""
        if places:
            message = f'{type(self).__name__}: {len(places)} {what}; they become regions to ignore: {name_some(places)}'
            print_log(message, logger='current', level=logging.WARNING)

    def _empty_message(self, reason: str, advice: str) -> str:
        where = f'ann_file={self.ann_file!r}, images={self.image_folder!r}'
        return f'{type(self).__name__} is empty: {reason} ({where}). {advice}'
