"""Readers of DOTA 1.0, 1.5 and 2.0, and of anything in the same layout."""

from typing import Any

from mmdet.registry import DATASETS

from .formats.classes import make_palette
from .formats.dota import parse_dota_header, parse_dota_lines
from .formats.labelled_quad import LabelledQuad
from .label_folder import LabelFolderDataset

DOTA_V10_CLASSES = (
    'plane',
    'baseball-diamond',
    'bridge',
    'ground-track-field',
    'small-vehicle',
    'large-vehicle',
    'ship',
    'tennis-court',
    'basketball-court',
    'storage-tank',
    'soccer-ball-field',
    'roundabout',
    'harbor',
    'swimming-pool',
    'helicopter',
)
DOTA_V15_CLASSES = (*DOTA_V10_CLASSES, 'container-crane')
DOTA_V20_CLASSES = (*DOTA_V15_CLASSES, 'airport', 'helipad')


@DATASETS.register_module()
class DOTADataset(LabelFolderDataset):
    """A folder of images and a folder of DOTA label files with the same names; classes of DOTA 1.0.

    "DOTA: A Large-scale Dataset for Object Detection in Aerial Images", https://arxiv.org/abs/1711.10398.

    Besides mmdet's keys the data info holds ``gsd`` (metres per pixel, or None) and ``meta`` (the other header lines).
    Arguments and errors are those of ``LabelFolderDataset``.
    """

    METAINFO = dict(classes=DOTA_V10_CLASSES, palette=make_palette(len(DOTA_V10_CLASSES)))

    label_kind = 'DOTA label files'

    def read_labels(self, text: str | None, source: str) -> tuple[dict[str, Any], list[LabelledQuad]]:
        """Read header and objects of a DOTA label file."""
        text = text or ''
        header = parse_dota_header(text, source)
        objects = [
            LabelledQuad(item.corners, item.label, item.difficult, f'{source}:{item.line}')
            for item in parse_dota_lines(text, self.metainfo['classes'], source, self.unknown_class)
        ]
        return dict(gsd=header.pop('gsd'), meta=header), objects


@DATASETS.register_module()
class DOTAv15Dataset(DOTADataset):
    """As ``DOTADataset``, with the 16 classes of DOTA 1.5."""

    METAINFO = dict(classes=DOTA_V15_CLASSES, palette=make_palette(len(DOTA_V15_CLASSES)))


@DATASETS.register_module()
class DOTAv2Dataset(DOTADataset):
    """As ``DOTADataset``, with the 18 classes of DOTA 2.0."""

    METAINFO = dict(classes=DOTA_V20_CLASSES, palette=make_palette(len(DOTA_V20_CLASSES)))
