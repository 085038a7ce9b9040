"""Views of one image, merged."""

import math

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

import stn_det.register  # noqa: F401
from stn_det.apis import load_config
from stn_det.errors import ConfigError, InputError
from stn_det.geometry import rotation_matrix, transform_points
from stn_det.models.detectors import OrientedTTAModel

SIZE = (90, 120)
CENTER = torch.tensor([81.0, 27.0], dtype=torch.float64)
KEYS = ('ori_shape', 'img_shape', 'scale_factor', 'homography_matrix')
VIEWS = [
    [dict(type='Resize', scale=(240, 180), keep_ratio=True), dict(type='Resize', scale=(120, 90), keep_ratio=True)],
    [
        dict(type='RandomFlip', prob=0.0),
        dict(type='RandomFlip', prob=1.0, direction='horizontal'),
        dict(type='RandomFlip', prob=1.0, direction='diagonal'),
        dict(type='RandomQuarterTurn', prob=1.0, turns=(1,)),
        dict(type='OrientedRandomRotate', prob=1.0, angle_range=180),
    ],
]


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


class Finder(torch.nn.Module):
    """A detector that knows where the truth is: what it returns went through what a detector does to boxes."""

    def __init__(self, columns):
        super().__init__()
        self.columns = columns

    def test_step(self, data):
        for sample in data['data_samples']:
            x, y = sample.metainfo['scale_factor']
            matrix = torch.as_tensor(sample.metainfo['homography_matrix'], dtype=torch.float64)
            cx, cy = (transform_points(CENTER[None], matrix)[0] / torch.tensor([x, y])).tolist()
            turn = math.atan2(matrix[1, 0], matrix[0, 0])
            mirrored = bool(torch.det(matrix[:2, :2]) < 0)
            box = torch.tensor([[cx, cy, 30.0, 12.0, turn - 0.4 if mirrored else turn + 0.4]])
            if self.columns == 4:
                box = torch.tensor([[cx - 8, cy - 8, cx + 8, cy + 8]])
            if self.columns == 8:
                box = torch.tensor([[cx - 8, cy - 8, cx + 8, cy - 8, cx + 8, cy + 8, cx - 8, cy + 8]])
            sample.pred_instances = InstanceData(bboxes=box, scores=torch.rand(1), labels=torch.tensor([2]))
        return data['data_samples']


def views(*transforms):
    """A batch of two images as the loader gives it."""
    pack = [dict(type='PackDetInputs', meta_keys=KEYS)]
    pipeline = Compose([dict(type='TestTimeAug', transforms=[*transforms, pack])])
    image = np.zeros((*SIZE, 3), dtype=np.uint8)
    return pseudo_collate([pipeline(dict(img=image, img_shape=SIZE, ori_shape=SIZE)) for _ in range(2)])


@pytest.mark.parametrize('columns', [4, 5, 8])
def test_all_views_come_back_to_the_same_place(columns):
    torch.manual_seed(0)
    model = OrientedTTAModel(dict(nms=dict(iou_threshold=1.0)), module=Finder(columns))
    found = model.test_step(views(*VIEWS))
    assert len(found) == 2
    for sample in found:
        boxes = sample.pred_instances.bboxes.double()
        assert boxes.shape == (10, columns)
        if columns == 4:
            centers = boxes.view(10, 2, 2).mean(1)
        else:
            centers = boxes[:, :2] if columns == 5 else boxes.view(10, 4, 2).mean(1)
        assert (centers - CENTER).abs().max() < 1e-3
        scores = sample.pred_instances.scores
        assert (scores.diff() <= 0).all()
        if columns == 5:
            size = boxes[:, 2:4].sort(dim=1, descending=True).values
            # the finder's boxes have the same size in every view of the original's scale
            assert torch.allclose(size, torch.tensor([[30.0, 12.0]], dtype=torch.float64), atol=1e-3)
            assert torch.sin(boxes[:, 4] - 0.4).abs().max() < 1e-3


def test_duplicates_go_and_the_number_is_limited():
    one = OrientedTTAModel(module=Finder(5)).test_step(views(*VIEWS))
    assert [len(sample.pred_instances) for sample in one] == [1, 1]
    few = OrientedTTAModel(dict(nms=dict(iou_threshold=1.0), max_per_img=3), module=Finder(5)).test_step(views(*VIEWS))
    assert [len(sample.pred_instances) for sample in few] == [3, 3]


def test_a_spatial_transformer_among_the_views():
    """Its warp and that of the view are both undone."""
    from .test_stn_detector import DotDetector, FixedTransformer, _wrap

    inner = _wrap()
    inner.detector, inner.transformer = DotDetector(), FixedTransformer(rotation_matrix(0.3, (60, 45)))
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    dot = 255 * np.exp(-((x - 50) ** 2 + (y - 40) ** 2) / 20)
    pack = [dict(type='PackDetInputs', meta_keys=KEYS)]
    turns = [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0), dict(type='RandomQuarterTurn')]
    pipeline = Compose([dict(type='TestTimeAug', transforms=[VIEWS[0][1:], turns, pack])])
    image = np.repeat(dot[..., None], 3, axis=2).astype(np.uint8)
    batch = pseudo_collate([pipeline(dict(img=image, img_shape=SIZE, ori_shape=SIZE))])
    model = OrientedTTAModel(dict(nms=dict(iou_threshold=1.0)), module=inner.eval())
    with torch.no_grad():
        found = model.test_step(batch)[0].pred_instances
    assert len(found) == 3
    mean = (np.array([x, y]) * image[..., 0]).sum((1, 2)) / image[..., 0].sum()
    assert np.abs(found.bboxes[:, :2].numpy() - mean).max() < 0.05


@pytest.mark.parametrize('stem', ['_demo_scenes', '_dota-samples', '_12e_upright-scenes'])
def test_the_shipped_views(stem):
    cfg = load_config(f'oriented-point-le90_mobilenetv2_fpn{stem}')
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(ConfigDict(**cfg.tta_model, module=cfg.model)).eval()
    inner = [step for step in cfg.tta_pipeline[1].transforms if step[0].type != 'LoadAnnotations']
    pipeline = Compose([dict(type='TestTimeAug', transforms=inner)])
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    sample = dict(img=image, img_shape=(64, 96), ori_shape=(64, 96), img_id=0, img_path='a.png')
    with torch.no_grad():
        (found,) = model.test_step(pseudo_collate([pipeline(sample)]))
    assert found.pred_instances.bboxes.shape[1] == 5


def test_errors():
    with pytest.raises(ConfigError, match='and nothing else'):
        OrientedTTAModel(dict(flip=True), module=Finder(5))
    with pytest.raises(ConfigError, match='max_per_img of 1 or more'):
        OrientedTTAModel(dict(max_per_img=0), module=Finder(5))
    bare = DetDataSample(metainfo=dict(ori_shape=SIZE))
    bare.pred_instances = InstanceData(bboxes=torch.zeros(1, 5), scores=torch.ones(1), labels=torch.zeros(1).long())
    with pytest.raises(InputError, match="Add 'homography_matrix' to meta_keys"):
        OrientedTTAModel(module=Finder(5)).merge_preds([[bare]])
    bare.pred_instances.masks = torch.zeros(1, 9, 9)
    with pytest.raises(InputError, match='hold masks'):
        OrientedTTAModel(module=Finder(5)).merge_preds([[bare]])
