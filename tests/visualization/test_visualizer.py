import cv2
import numpy as np
import pytest
import torch

CLASSES = ('ship', 'plane')


def sample(columns=5, score=0.9, wrap=None):
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    from stn_det.geometry import rbox_to_qbox

    boxes = torch.tensor([[60.0, 50.0, 50.0, 20.0, 0.5]])
    boxes = rbox_to_qbox(boxes) if columns == 8 else boxes
    item = DetDataSample(metainfo={'img_path': 'P0001.png'})
    labels = torch.tensor([1])
    item.gt_instances = InstanceData(bboxes=wrap(boxes) if wrap else boxes, labels=labels)
    item.pred_instances = InstanceData(bboxes=boxes, labels=labels, scores=torch.tensor([score]))
    return item


@pytest.fixture
def visualizer():
    from stn_det.visualization import OrientedVisualizer

    instance = OrientedVisualizer(line_width=3)
    instance.dataset_meta = {'classes': CLASSES, 'palette': [(10, 20, 30), (200, 100, 50)]}
    return instance


@pytest.mark.parametrize('columns', [5, 8])
def test_truth_left_and_prediction_right(visualizer, tmp_path, columns):
    image = np.full((100, 120, 3), 90, dtype=np.uint8)
    file = tmp_path / 'shown' / 'P0001.png'
    visualizer.add_datasample('test_img', image, sample(columns), out_file=str(file))
    written = cv2.imread(str(file))[..., ::-1]
    assert written.shape == (100, 240, 3)
    for half in (written[:, :120], written[:, 120:]):
        assert (np.abs(half.astype(int) - (200, 100, 50)).max(axis=2) < 3).sum() > 20
    np.testing.assert_array_equal(visualizer.get_image(), written)


def test_box_objects(visualizer):
    from stn_det.structures import RotatedBoxes

    image = np.full((100, 120, 3), 90, dtype=np.uint8)
    visualizer.add_datasample('x', image, sample(wrap=RotatedBoxes), draw_pred=False)
    wrapped = visualizer.get_image()
    visualizer.add_datasample('x', image, sample(), draw_pred=False)
    np.testing.assert_array_equal(wrapped, visualizer.get_image())


def test_scores_below_the_threshold_are_not_drawn(visualizer):
    image = np.full((100, 120, 3), 90, dtype=np.uint8)
    visualizer.add_datasample('x', image, sample(score=0.2), draw_gt=False, pred_score_thr=0.3)
    np.testing.assert_array_equal(visualizer.get_image(), image)


def test_horizontal_boxes_are_left_to_mmdet(visualizer):
    from mmengine.structures import InstanceData

    item = sample()
    item.gt_instances = InstanceData(bboxes=torch.tensor([[10.0, 10.0, 60.0, 40.0]]), labels=torch.tensor([0]))
    image = np.full((100, 120, 3), 90, dtype=np.uint8)
    visualizer.add_datasample('x', image, item, draw_pred=False)
    assert (visualizer.get_image() != 90).any()


def test_built_by_name_and_saved_by_a_backend(tmp_path):
    from mmdet.registry import VISUALIZERS

    instance = VISUALIZERS.build(
        {
            'type': 'mmdet.OrientedVisualizer',
            'name': 'oriented_test',
            'save_dir': str(tmp_path),
            'vis_backends': [{'type': 'LocalVisBackend'}],
            'line_width': 2,
            'heading': False,
        }
    )
    instance.dataset_meta = {'classes': CLASSES}
    instance.add_datasample('val_img', np.zeros((100, 120, 3), np.uint8), sample(), step=3)
    written = list(tmp_path.rglob('val_img_3.png'))
    assert len(written) == 1
    assert cv2.imread(str(written[0])).any()


def test_with_mmdets_hook(visualizer, tmp_path, monkeypatch):
    from types import SimpleNamespace

    from mmdet.engine.hooks import DetVisualizationHook

    cv2.imwrite(str(tmp_path / 'P0001.png'), np.zeros((100, 120, 3), np.uint8))
    item = sample()
    item.set_metainfo({'img_path': str(tmp_path / 'P0001.png')})
    monkeypatch.setattr('mmengine.visualization.Visualizer.get_current_instance', lambda: visualizer)
    hook = DetVisualizationHook(draw=True, test_out_dir='shown')
    hook.after_test_iter(SimpleNamespace(work_dir=str(tmp_path), timestamp='now'), 0, {}, [item])
    assert cv2.imread(str(tmp_path / 'now' / 'shown' / 'P0001.png')).shape == (100, 240, 3)
