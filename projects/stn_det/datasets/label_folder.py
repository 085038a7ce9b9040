"""A folder of images and a folder of label files with the same names: what such readers share."""

from pathlib import Path
from typing import Any

import numpy as np

from stn_det.errors import AnnotationError, ConfigError, DatasetError

from .formats.image_files import image_size, index_images
from .formats.labelled_quad import LabelledQuad
from .formats.numbers import is_zero_area_quad
from .oriented_dataset import OrientedDataset, name_some

UNLABELLED_CHOICES = ('error', 'background')


class LabelFolderDataset(OrientedDataset):
    """Pairs images with label files and reads them; a subclass says how one is read.

    Boxes are quadrilaterals: load them with ``LoadAnnotations(with_bbox=True, box_type='qbox')``. A label file
    without objects makes its image a background image. Objects with difficult above 0, of zero area, or wholly
    outside their image become regions to ignore.

    Args:
        img_suffix: Take only images with this suffix ('png'); None takes PNG, JPEG, TIFF and BMP.
        unlabelled_images: 'error' raises for images without a label file; 'background' keeps them as images
            without objects. With ``ann_file=''`` every image is one (a test set without labels).
        read_sizes: Whether to read width and height from each image header; without, boxes outside the image are
            not found and ``min_size`` of ``filter_cfg`` has no effect.
        **kwargs: As for ``OrientedDataset``; ``ann_file`` is the folder of label files and
            ``data_prefix=dict(img_path=...)`` the folder of images.

    Raises:
        AnnotationError: A label file cannot be read; the message names file and place.
        ClassMismatchError: A class is not in ``metainfo['classes']``.
        DatasetError: Folders are missing or images and label files do not match.
        ImageError: An image has no readable header.
    """

    label_suffix = '.txt'
    label_kind = 'label files'

    def __init__(
        self,
        *,
        img_suffix: str | None = None,
        unlabelled_images: str = 'error',
        read_sizes: bool = True,
        **kwargs: Any,
    ) -> None:
        if unlabelled_images not in UNLABELLED_CHOICES:
            raise ConfigError(f'unlabelled_images is {unlabelled_images!r}, expected one of {UNLABELLED_CHOICES}.')
        self.img_suffix = img_suffix
        self.unlabelled_images = unlabelled_images
        self.read_sizes = read_sizes
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """Pair images with label files and read them."""
        images = index_images(self.image_folder, self.img_suffix)
        if self.second_sensor is not None:
            images = self.second_sensor.select_first(images)
        labels = self._index_labels() if self.ann_file else {}
        images, labels = self._select_listed(images, labels)
        self._check_pairs(images, labels)
        zero_area: list[str] = []
        outside: list[str] = []
        data_list = []
        for stem, path in images.items():
            info = self._load_image(stem, path, labels.get(stem), zero_area)
            if self.read_sizes:
                corners = np.array([item['bbox'] for item in info['instances']], dtype=np.float64)
                if self.mark_outside(info['instances'], corners, (info['width'], info['height'])):
                    outside.append(labels[stem])
            data_list.append(info)
        self.warn_once('zero-area boxes', zero_area)
        self.warn_once('label files with boxes outside the image', outside)
        return self.add_second_images(data_list)

    def _index_labels(self) -> dict[str, str]:
        folder = Path(self.ann_file)
        if not folder.is_dir():
            kind = 'is a file' if folder.is_file() else 'does not exist'
            raise DatasetError(
                f'label folder {folder} {kind}, expected a folder of {self.label_kind} (one {self.label_suffix} an '
                "image). Check data_root and ann_file; ann_file='' reads images without labels."
            )
        labels = {path.stem: str(path) for path in sorted(folder.glob(f'*{self.label_suffix}'))}
        if not labels:
            raise DatasetError(
                f'label folder {folder} holds no {self.label_suffix} file, expected one for each image. '
                'Check data_root and ann_file.'
            )
        return labels

    def _select_listed(self, images: dict[str, str], labels: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        names = self.read_img_list()
        if names is None:
            return images, labels
        file_names = {Path(path).name: stem for stem, path in images.items()}
        stems = {file_names.get(name, name) for name in names}
        self.reject_unlisted(stems - images.keys(), file_names)
        return (
            {stem: path for stem, path in images.items() if stem in stems},
            {stem: path for stem, path in labels.items() if stem in stems},
        )

    def _check_pairs(self, images: dict[str, str], labels: dict[str, str]) -> None:
        no_image = [path for stem, path in labels.items() if stem not in images]
        if no_image:
            raise DatasetError(
                f'{len(no_image)} of {len(labels)} label files have no image in {self.image_folder}: '
                f'{name_some(no_image)}. Expected an image of the same name (PNG, JPEG, TIFF or BMP). '
                'Add the images, remove the labels, or check data_prefix and img_suffix.'
            )
        no_label = [path for stem, path in images.items() if stem not in labels]
        if no_label and self.ann_file and self.unlabelled_images == 'error':
            raise DatasetError(
                f'{len(no_label)} of {len(images)} images have no label file in {self.ann_file}: '
                f"{name_some(no_label)}. Add the labels, or set unlabelled_images='background' if they hold no object."
            )

    def _load_image(self, stem: str, path: str, label_path: str | None, zero_area: list[str]) -> dict:
        text = self._read_text(label_path) if label_path else None
        more, objects = self.read_labels(text, label_path or path)
        info: dict[str, Any] = dict(img_path=path, img_id=stem, **more)
        if self.read_sizes:
            info['width'], info['height'] = image_size(path)
        info['instances'] = [self._instance(item, zero_area) for item in objects]
        return info

    def read_labels(self, text: str | None, source: str) -> tuple[dict[str, Any], list[LabelledQuad]]:
        """What a label file says of its image, for the data info, and its objects.

        Args:
            text: Content of the file; None for an image without one.
            source: Name of the file, for messages.
        """
        raise NotImplementedError(f'{type(self).__name__} does not say how a label file is read; define read_labels')

    def _instance(self, item: LabelledQuad, zero_area: list[str]) -> dict:
        reason = 'difficult' if self.ignore_difficult and item.difficult > 0 else ''
        if is_zero_area_quad(item.corners):
            reason = 'zero-area'
            zero_area.append(item.where)
        return dict(bbox=list(item.corners), bbox_label=item.label, ignore_flag=int(bool(reason)), ignore_reason=reason)

    def _read_text(self, path: str) -> str:
        try:
            return Path(path).read_text(encoding='utf-8-sig')
        except UnicodeDecodeError as error:
            raise AnnotationError(
                f'{path}: not a text file in UTF-8: {error}. Expected one of the {self.label_kind}. Save it as UTF-8.'
            ) from error
