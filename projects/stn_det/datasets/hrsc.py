"""Reader of HRSC2016."""

from typing import Any

from mmdet.registry import DATASETS

from .formats.classes import make_palette
from .formats.hrsc import parse_hrsc
from .formats.labelled_quad import LabelledQuad
from .label_folder import LabelFolderDataset


@DATASETS.register_module()
class HRSCDataset(LabelFolderDataset):
    """HRSC2016: ships in satellite images, one class, XML with rotated boxes.

    "A High Resolution Optical Satellite Image Dataset for Ship Recognition and Some New Baselines",
    https://doi.org/10.5220/0006120603240331. Kinds of ships are not told apart. ``ann_file`` is the folder
    'FullDataSet/Annotations/', and ``img_list`` a file of 'ImageSets/'. Boxes come out as quadrilaterals like those of
    the other readers; arguments and errors are those of ``LabelFolderDataset``.
    """

    METAINFO = dict(classes=('ship',), palette=make_palette(1))
    label_suffix = '.xml'
    label_kind = 'HRSC2016 label files'

    def read_labels(self, text: str | None, source: str) -> tuple[dict[str, Any], list[LabelledQuad]]:
        """Read the ships of an HRSC2016 label file."""
        if text is None:
            return {}, []
        return {}, parse_hrsc(text, source)
