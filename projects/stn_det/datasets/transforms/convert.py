"""Conversion of boxes from one type to another."""

from collections.abc import Mapping

from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import BaseBoxes
from mmdet.structures.bbox.box_type import box_types

import stn_det.structures  # noqa: F401  registers 'rbox' and 'qbox' with mmdet
from stn_det.errors import ConfigError, InputError


@TRANSFORMS.register_module()
class ConvertBoxType(BaseTransform):
    """Convert boxes of the sample to other types, for example quadrilaterals to rotated rectangles.

    Args:
        box_type_mapping: Type to convert to ('hbox', 'rbox' or 'qbox') by key of the sample, usually
            ``dict(gt_bboxes='rbox')``.

    Raises:
        ConfigError: A type is not registered.
        InputError: A key is missing from the sample or holds no boxes.
    """

    def __init__(self, box_type_mapping: Mapping[str, str]) -> None:
        for key, name in box_type_mapping.items():
            if name not in box_types:
                raise ConfigError(
                    f"ConvertBoxType: box type '{name}' for '{key}' is not registered, expected one of "
                    f'{sorted(box_types)}. Correct box_type_mapping.'
                )
        self.box_type_mapping = dict(box_type_mapping)

    def transform(self, results: dict) -> dict:
        """Convert the named entries of the sample."""
        for key, name in self.box_type_mapping.items():
            boxes = results.get(key)
            if not isinstance(boxes, BaseBoxes):
                raise InputError(
                    f"ConvertBoxType: results['{key}'] is {type(boxes).__name__}, expected boxes. "
                    'Put LoadAnnotations(with_bbox=True, box_type=...) before it.'
                )
            results[key] = boxes.convert_to(name)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(box_type_mapping={self.box_type_mapping})'
