"""The readers of DIOR-R and HRSC2016 on small datasets, and their base configs."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config

from stn_det.datasets import DIORDataset, HRSCDataset
from stn_det.errors import AnnotationError, ConfigError, DatasetError

ROBNDBOX = (
    '<robndbox><x_left_top>10</x_left_top><y_left_top>20</y_left_top><x_right_top>30</x_right_top>'
    '<y_right_top>20</y_right_top><x_right_bottom>30</x_right_bottom><y_right_bottom>40</y_right_bottom>'
    '<x_left_bottom>10</x_left_bottom><y_left_bottom>40</y_left_bottom></robndbox>'
)
PLANE = f'<annotation><object><name>airplane</name>{ROBNDBOX}</object></annotation>'
SHIP = (
    '<HRSC_Image><HRSC_Objects><HRSC_Object><difficult>{difficult}</difficult><mbox_cx>{x}</mbox_cx>'
    '<mbox_cy>40</mbox_cy><mbox_w>{w}</mbox_w><mbox_h>10</mbox_h><mbox_ang>0</mbox_ang></HRSC_Object></HRSC_Objects>'
    '</HRSC_Image>'
)
DIOR_LABELS = 'Annotations/Oriented Bounding Boxes'


def ship(x: float = 50, w: float = 20, difficult: int = 0) -> str:
    """Label file with one upright ship."""
    return SHIP.format(x=x, w=w, difficult=difficult)


def write(root: Path, images: str, labels: str, files: dict[str, str | None], suffix: str) -> None:
    """Images of 100 x 80 pixels, and label files of the same names where there is text."""
    for folder in (images, labels):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for stem, text in files.items():
        cv2.imwrite(str(root / images / f'{stem}{suffix}'), np.full((80, 100, 3), 90, np.uint8))
        if text is not None:
            (root / labels / f'{stem}.xml').write_text(text, encoding='utf-8')


def hrsc(root: Path, files: dict[str, str | None], **kwargs) -> HRSCDataset:
    """Dataset with these label files."""
    write(root, 'FullDataSet/AllImages', 'FullDataSet/Annotations', files, '.bmp')
    options = dict(
        data_root=str(root),
        ann_file='FullDataSet/Annotations/',
        data_prefix=dict(img_path='FullDataSet/AllImages/'),
        serialize_data=False,
    )
    return HRSCDataset(**{**options, **kwargs})


def test_dior_reads_the_images_of_a_list(tmp_path: Path) -> None:
    write(tmp_path, 'JPEGImages-trainval', DIOR_LABELS, {'00001': PLANE, '00002': PLANE}, '.jpg')
    (tmp_path / DIOR_LABELS / '00003.xml').write_text(PLANE)  # of the test set, whose images lie elsewhere
    (tmp_path / 'train.txt').write_text('00002\n')
    dataset = DIORDataset(
        data_root=str(tmp_path),
        ann_file=DIOR_LABELS,
        img_list='train.txt',
        data_prefix=dict(img_path='JPEGImages-trainval/'),
        serialize_data=False,
    )
    assert len(dataset) == 1
    info = dataset.get_data_info(0)
    assert (info['img_id'], info['width'], info['height']) == ('00002', 100, 80)
    assert info['instances'] == [
        dict(bbox=[10, 20, 30, 20, 30, 40, 10, 40], bbox_label=0, ignore_flag=0, ignore_reason='')
    ]


def test_hrsc_reads_ships_and_what_to_ignore(tmp_path: Path) -> None:
    files = dict(a=ship(), b=ship(difficult=1), c=ship(w=0), d=ship(x=-30), e='<HRSC_Image/>')
    dataset = hrsc(tmp_path, files)
    instances = [dataset.get_data_info(i)['instances'] for i in range(5)]
    assert instances[0][0]['bbox'] == pytest.approx([40, 35, 60, 35, 60, 45, 40, 45])
    assert [[i['ignore_reason'] for i in found] for found in instances] == [
        [''], ['difficult'], ['zero-area'], ['outside'], []
    ]  # fmt: skip


def test_images_without_labels(tmp_path: Path) -> None:
    files = dict(a=ship(), b=None)
    with pytest.raises(DatasetError, match=r'1 of 2 images have no label file'):
        hrsc(tmp_path, files)
    dataset = hrsc(tmp_path, files, unlabelled_images='background')
    assert dataset.get_data_info(1)['instances'] == []
    assert len(hrsc(tmp_path, {}, ann_file='')) == 2
    with pytest.raises(ConfigError, match="unlabelled_images is 'drop'"):
        hrsc(tmp_path, {}, unlabelled_images='drop')


def test_corrupt_label_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r'b\.xml: not XML'):
        hrsc(tmp_path, dict(a=ship(), b=''))
    (tmp_path / 'FullDataSet/Annotations/b.xml').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(AnnotationError, match=r'b\.xml: not a text file in UTF-8.*HRSC2016 label files'):
        hrsc(tmp_path, {})


def test_folder_without_label_files(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r'holds no \.xml file'):
        hrsc(tmp_path, dict(a=None))
    with pytest.raises(DatasetError, match=r'does not exist, expected a folder of HRSC2016 label files'):
        hrsc(tmp_path, {}, ann_file='nowhere/')


def leaf(config: Config, split: str) -> list[dict]:
    """The datasets of a loader without what wraps them."""
    dataset = config[f'{split}_dataloader'].dataset
    while dataset.type == 'RepeatDataset':
        dataset = dataset.dataset
    return list(dataset.datasets) if dataset.type == 'ConcatDataset' else [dataset]


@pytest.mark.parametrize(
    ('name', 'layout'),
    [
        ('dior_r', ('JPEGImages-trainval', DIOR_LABELS, {'1': PLANE, '2': PLANE}, '.jpg')),
        ('hrsc2016', ('FullDataSet/AllImages', 'FullDataSet/Annotations', {'1': ship(), '2': ship()}, '.bmp')),
    ],
)
def test_base_configs_build(repository: Path, tmp_path: Path, name: str, layout: tuple) -> None:
    config = Config.fromfile(repository / 'configs' / '_base_' / 'datasets' / f'{name}.py')
    write(tmp_path, *layout)
    if name == 'dior_r':
        write(tmp_path, 'JPEGImages-test', *layout[1:])
    assert config.val_dataloader == config.test_dataloader
    for split, mode in (('train', False), ('val', True)):
        for part in leaf(config, split):
            (tmp_path / part.img_list).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / part.img_list).write_text('2\n')
            dataset = DATASETS.build({**part, 'data_root': str(tmp_path)})
            assert len(dataset) == 1
            sample = dataset[0]
            boxes = sample['data_samples'].gt_instances.bboxes.tensor
            assert boxes.shape == (1, 8 if mode else 5)  # the truth stays as labelled
            assert sample['inputs'].dtype == torch.uint8
            assert max(sample['inputs'].shape[1:]) == 800
