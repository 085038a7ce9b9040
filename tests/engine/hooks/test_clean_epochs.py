"""Clean last epochs, through the runner, with our datasets and transforms, and workers that stay alive."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner

import stn_det.register  # noqa: F401
from stn_det.engine import CleanEpochsHook
from stn_det.errors import ConfigError

LOADING = [
    dict(type='LoadCheckedImage'),
    dict(type='LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
]
# all four images whole, on a canvas twice as large, and steps behind it
MIXING = [
    dict(type='OrientedMosaic', img_scale=(32, 24), center_ratio_range=(1.0, 1.0), quarter_turns=False),
    dict(type='RandomFlip', prob=0.0),
    dict(type='FilterOrientedBoxes', min_size=2),
    dict(type='PackDetInputs'),
]


class Recorder(BaseModel):
    """Remembers the size and the number of objects of every image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.seen: list[tuple[int, int, int]] = []

    def forward(self, inputs: list, data_samples: list, mode: str = 'tensor') -> dict:
        """Loss of nothing."""
        for image, sample in zip(inputs, data_samples, strict=True):
            self.seen.append((*image.shape[1:], len(sample.gt_instances)))
        return dict(loss=self.weight.square())


@pytest.fixture
def dota(tmp_path: Path) -> dict:
    """Four images of 32 x 24 pixels with one object each."""
    for folder in ('images', 'labelTxt'):
        (tmp_path / folder).mkdir()
    for stem in 'abcd':
        cv2.imwrite(str(tmp_path / 'images' / f'{stem}.png'), np.full((24, 32, 3), 90, np.uint8))
        (tmp_path / 'labelTxt' / f'{stem}.txt').write_text('10 8 20 8 20 16 10 16 plane 0\n')
    return dict(
        type='DOTADataset',
        data_root=str(tmp_path),
        ann_file='labelTxt',
        data_prefix=dict(img_path='images'),
        pipeline=LOADING,
    )


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., list]:
    """Trains three epochs and returns what the model saw, four entries an epoch."""

    def run(dataset: dict, hook: dict, workers: int = 0, **settings: Any) -> list[tuple[int, int, int]]:
        model = Recorder()
        Runner(
            model=model,
            work_dir=str(tmp_path / 'work'),
            train_dataloader=dict(
                dataset=dataset,
                sampler=dict(type='DefaultSampler', shuffle=False),
                collate_fn=dict(type='pseudo_collate'),
                batch_size=2,
                num_workers=workers,
                persistent_workers=workers > 0,
            ),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            train_cfg=dict(by_epoch=True, max_epochs=3),
            custom_hooks=[hook],
            default_scope='mmdet',
            experiment_name=tmp_path.name,
            log_level='WARNING',
            **settings,
        ).train()
        return model.seen

    return run


MIXED, CLEAN = (48, 64, 4), (24, 32, 1)


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('repeated', [False, True])
def test_the_last_epoch_is_clean(dota: dict, run: Callable, workers: int, repeated: bool) -> None:
    dataset = dict(type='MultiImageMixDataset', dataset=dota, pipeline=MIXING)
    if repeated:
        dataset = dict(type='RepeatDataset', times=1, dataset=dataset)
    seen = run(dataset, dict(type='CleanEpochsHook', num_last_epochs=1), workers)
    assert seen == [MIXED] * 8 + [CLEAN] * 4


def test_a_resumed_training_is_switched_too(dota: dict, run: Callable, tmp_path: Path) -> None:
    dataset = dict(type='MultiImageMixDataset', dataset=dota, pipeline=MIXING)
    hook = dict(type='CleanEpochsHook', num_last_epochs=1)
    run(dataset, hook)
    seen = run(dataset, hook, resume=True, load_from=str(tmp_path / 'work' / 'epoch_2.pth'))
    assert seen == [CLEAN] * 4


def test_more_clean_epochs_than_epochs(dota: dict, run: Callable) -> None:
    dataset = dict(type='MultiImageMixDataset', dataset=dota, pipeline=MIXING)
    assert run(dataset, dict(type='CleanEpochsHook', num_last_epochs=12)) == [CLEAN] * 12


def test_pipelines_of_plain_and_joined_datasets(dota: dict, run: Callable) -> None:
    """A quarter turn in the dataset's own pipeline; two of four joined images are turned until it is left out."""
    turning = [*LOADING, dict(type='RandomQuarterTurn', prob=1.0, turns=(1,)), dict(type='PackDetInputs')]
    plain = [*LOADING, dict(type='PackDetInputs')]
    halves = [dict(dota, indices=2, pipeline=pipeline) for pipeline in (turning, plain)]
    hook = dict(type='CleanEpochsHook', num_last_epochs=2, skip_type_keys=['RandomQuarterTurn'])
    turned = (32, 24, 1)
    assert run(dict(type='ConcatDataset', datasets=halves), hook) == [turned, turned, CLEAN, CLEAN] + [CLEAN] * 8


def test_what_was_left_out_before_stays_out(dota: dict, run: Callable) -> None:
    turning = [dict(type='RandomQuarterTurn', prob=1.0, turns=(1,)), *MIXING]
    dataset = dict(type='MultiImageMixDataset', dataset=dota, pipeline=turning, skip_type_keys=['RandomQuarterTurn'])
    assert run(dataset, dict(type='CleanEpochsHook', num_last_epochs=1)) == [MIXED] * 8 + [CLEAN] * 4


def test_errors() -> None:
    with pytest.raises(ConfigError, match='num_last_epochs is 0; expected at least 1'):
        CleanEpochsHook(0)
    for types in ('OrientedMosaic', ()):
        with pytest.raises(ConfigError, match=r'skip_type_keys is .*; expected types such as'):
            CleanEpochsHook(skip_type_keys=types)
    steps = [SimpleNamespace()]
    dataset = SimpleNamespace(pipeline=SimpleNamespace(transforms=steps))
    runner = SimpleNamespace(train_dataloader=SimpleNamespace(dataset=dataset))
    with pytest.raises(ConfigError, match=r"pipeline has none; it has \['SimpleNamespace'\]. Remove the hook"):
        CleanEpochsHook().before_train(runner)
