"""Reader of COCO-like JSON files with oriented boxes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import DATASETS

from stn_det.errors import ConfigError, DatasetError
from stn_det.geometry import canonicalize_rboxes, qbox_to_rbox, rbox_to_qbox

from .formats.image_files import image_size
from .formats.numbers import is_zero_area_quad
from .formats.rotated_coco import CocoImage, CocoObject, load_rotated_coco, parse_rotated_coco
from .oriented_dataset import OrientedDataset, name_some

_CHOICES = {'box_type': ('rbox', 'qbox'), 'angle_unit': ('rad', 'deg'), 'angle_direction': ('cw', 'ccw')}


@DATASETS.register_module()
class RotatedCocoDataset(OrientedDataset):
    """One JSON file with images, annotations and categories, as HIT-UAV and many label tools write it.

    A box is ``bbox = [cx, cy, w, h, theta]``, or four corners in ``bbox`` or ``segmentation``. Rotated boxes are
    brought to the le90 form. Load them with ``LoadAnnotations(with_bbox=True, box_type='rbox')`` (the type of
    ``box_type``). ``metainfo=dict(classes=(...))`` is needed. Besides mmdet's keys the data info holds ``meta``: what
    the file says of the image beyond name and size, such as altitude or scenario.

    Args:
        box_type: 'rbox' or 'qbox', the type of the boxes handed on.
        ignore_classes: Categories that mark regions to ignore, such as HIT-UAV's DontCare. Each region is
            repeated with the label of every class, so that metrics that go class by class see it.
        angle_unit: 'rad' or 'deg', the unit of theta in the file.
        angle_direction: 'cw' or 'ccw', the sense of a positive theta in the file as seen on screen.
        check_images: Whether to see that each image file exists.
        **kwargs: As for ``OrientedDataset``; ``ann_file`` is the JSON file and ``data_prefix=dict(img_path=...)``
            the folder of images.

    Raises:
        AnnotationError: The file or an annotation in it cannot be read; the message names position and id.
        ClassMismatchError: A category is neither in ``metainfo['classes']`` nor in ``ignore_classes``.
        DatasetError: Image files are missing.
    """

    def __init__(
        self,
        *,
        box_type: str = 'rbox',
        ignore_classes: Sequence[str] = (),
        angle_unit: str = 'rad',
        angle_direction: str = 'cw',
        check_images: bool = True,
        **kwargs: Any,
    ) -> None:
        for name, value in (('box_type', box_type), ('angle_unit', angle_unit), ('angle_direction', angle_direction)):
            if value not in _CHOICES[name]:
                raise ConfigError(f'{name} is {value!r}, expected one of {_CHOICES[name]}.')
        if isinstance(ignore_classes, str):
            raise ConfigError(f"ignore_classes is the string '{ignore_classes}', write ('{ignore_classes}',).")
        self.box_type = box_type
        self.ignore_classes = tuple(ignore_classes)
        self.angle_unit = angle_unit
        self.angle_direction = angle_direction
        self.check_images = check_images
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the JSON file and bring the boxes to one type."""
        images = self._select_listed(
            parse_rotated_coco(
                load_rotated_coco(self.ann_file),
                self.metainfo['classes'],
                self.ann_file,
                self.ignore_classes,
                self.unknown_class,
                self.angle_unit,
                self.angle_direction,
            )
        )
        for image in images:
            image.objects[:] = self._repeat_ignored(image.objects)
        paths = [str(Path(self.image_folder) / image.file_name) for image in images]
        if self.check_images:
            self._check_files(paths)
        boxes, corners = _convert([item for image in images for item in image.objects], self.box_type)
        zero_area: list[str] = []
        outside: list[str] = []
        data_list, start = [], 0
        for image, path in zip(images, paths):
            stop = start + len(image.objects)
            info = self._data_info(image, path)
            info['instances'] = [
                self._instance(item, box, zero_area) for item, box in zip(image.objects, boxes[start:stop])
            ]
            if self.mark_outside(info['instances'], corners[start:stop], (info['width'], info['height'])):
                outside.append(image.file_name)
            data_list.append(info)
            start = stop
        self.warn_once('zero-area boxes', zero_area)
        self.warn_once('images with boxes outside the image', outside)
        return self.add_second_images(data_list)

    def _select_listed(self, images: list[CocoImage]) -> list[CocoImage]:
        names = self.read_img_list()
        if names is None:
            return images
        spellings = {
            image.file_name: (image.file_name, Path(image.file_name).name, Path(image.file_name).stem)
            for image in images
        }
        kept = [image for image in images if not names.isdisjoint(spellings[image.file_name])]
        found = {spelling for image in kept for spelling in spellings[image.file_name]}
        self.reject_unlisted(names - found, spellings)
        return kept

    def _repeat_ignored(self, objects: list[CocoObject]) -> list[CocoObject]:
        """A region to ignore that has no class holds for every class: give it every label once."""
        every_label = range(len(self.metainfo['classes']))
        return [
            replace(item, label=label)
            for item in objects
            for label in (every_label if item.label < 0 else (item.label,))
        ]

    def _check_files(self, paths: list[str]) -> None:
        missing = [path for path in paths if not Path(path).is_file()]
        if missing:
            raise DatasetError(
                f'{len(missing)} of {len(paths)} images named in {self.ann_file} do not exist: {name_some(missing)}. '
                'Expected data_root + data_prefix + file name. Check data_prefix=dict(img_path=...).'
            )

    def _data_info(self, image: CocoImage, path: str) -> dict[str, Any]:
        width, height = image.width, image.height
        if width is None or height is None:
            width, height = image_size(path)
        return dict(img_path=path, img_id=image.id, width=width, height=height, meta=image.meta)

    def _instance(self, item: CocoObject, box: list[float], zero_area: list[str]) -> dict:
        reason = '' if item.ignore_reason == 'difficult' and not self.ignore_difficult else item.ignore_reason
        if _is_zero_area(item.box):
            reason = 'zero-area'
            zero_area.append(item.where)
        return dict(bbox=box, bbox_label=item.label, ignore_flag=int(bool(reason)), ignore_reason=reason)


def _is_zero_area(box: tuple[float, ...]) -> bool:
    return is_zero_area_quad(box) if len(box) == 8 else min(box[2], box[3]) <= 0


def _convert(objects: list[CocoObject], box_type: str) -> tuple[list[list[float]], np.ndarray]:
    """Bring all boxes to one type in two batches.

    Args:
        objects: N annotations with boxes of 5 or 8 numbers.
        box_type: 'rbox' or 'qbox'.

    Returns:
        The boxes as lists of 5 or 8 numbers, and their corners ``(N, 8)``.
    """
    rboxes = torch.zeros(len(objects), 5, dtype=torch.float64)
    qboxes = torch.zeros(len(objects), 8, dtype=torch.float64)
    is_quad = torch.tensor([len(item.box) == 8 for item in objects], dtype=torch.bool)
    if is_quad.any():
        qboxes[is_quad] = torch.tensor([o.box for o in objects if len(o.box) == 8], dtype=torch.float64)
        rboxes[is_quad] = qbox_to_rbox(qboxes[is_quad])
    if not is_quad.all():
        given = torch.tensor([o.box for o in objects if len(o.box) == 5], dtype=torch.float64)
        rboxes[~is_quad] = canonicalize_rboxes(given)
        qboxes[~is_quad] = rbox_to_qbox(rboxes[~is_quad])
    return (rboxes if box_type == 'rbox' else qboxes).tolist(), qboxes.numpy()
