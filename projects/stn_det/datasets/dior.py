"""Reader of DIOR-R."""

from typing import Any

from mmdet.registry import DATASETS

from .formats.classes import make_palette
from .formats.dior import parse_dior
from .formats.labelled_quad import LabelledQuad
from .label_folder import LabelFolderDataset

# In the order of mmrotate, so that the weights of one serve the other.
DIOR_CLASSES = (
    'airplane',
    'airport',
    'baseballfield',
    'basketballcourt',
    'bridge',
    'chimney',
    'expressway-service-area',
    'expressway-toll-station',
    'dam',
    'golffield',
    'groundtrackfield',
    'harbor',
    'overpass',
    'ship',
    'stadium',
    'storagetank',
    'tenniscourt',
    'trainstation',
    'vehicle',
    'windmill',
)


@DATASETS.register_module()
class DIORDataset(LabelFolderDataset):
    """DIOR-R: images of 800 x 800 pixels, 20 classes, XML with four corners.

    "Anchor-Free Oriented Proposal Generator for Object Detection", https://arxiv.org/abs/2110.01931. Class names are
    read in lower case. ``ann_file`` is the folder 'Annotations/Oriented Bounding Boxes/', and ``img_list`` a file of
    'ImageSets/Main/'. Arguments and errors are those of ``LabelFolderDataset``.
    """

    METAINFO = dict(classes=DIOR_CLASSES, palette=make_palette(len(DIOR_CLASSES)))
    label_suffix = '.xml'
    label_kind = 'DIOR-R label files'

    def read_labels(self, text: str | None, source: str) -> tuple[dict[str, Any], list[LabelledQuad]]:
        """Read the objects of a DIOR-R label file."""
        if text is None:
            return {}, []
        return {}, parse_dior(text, self.metainfo['classes'], source, self.unknown_class)
