import json
import logging
import zipfile

import numpy as np
import pytest
import torch

from stn_det.errors import ClassMismatchError, ConfigError, DatasetError, InputError

CLASSES = ('ship', 'plane', 'small-vehicle')
BOX = [50.0, 60.0, 40.0, 12.0, 0.5]


def metric(classes=CLASSES, **kwargs):
    from stn_det.evaluation import DOTAMetric

    instance = DOTAMetric(**kwargs)
    instance.dataset_meta = {'classes': classes}
    return instance


def instances(boxes, labels, scores=None, columns=5):
    fields = {
        'bboxes': torch.tensor(boxes, dtype=torch.float32).reshape(-1, columns),
        'labels': torch.tensor(labels, dtype=torch.long),
    }
    if scores is not None:
        fields['scores'] = torch.tensor(scores, dtype=torch.float32)
    return fields


def sample(predicted, truth, ignored=None, name='P0001'):
    result = {'img_id': name, 'pred_instances': predicted, 'gt_instances': truth}
    if ignored is not None:
        result['ignored_instances'] = ignored
    return result


def shifted(dx):
    return [BOX[0] + dx, *BOX[1:]]


def evaluate(instance, *samples):
    for item in samples:
        instance.process({}, [item])
    return instance.evaluate(len(samples))


@pytest.fixture
def log(caplog):
    """Text of the log; mmengine's logger does not propagate, print_log without one goes to the console."""
    from mmengine.logging import MMLogger

    logger = MMLogger.get_instance('metric_test', log_level='INFO')
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO):
        yield caplog
    logger.removeHandler(caplog.handler)


class TestFigures:
    def test_keys_and_values(self, log):
        predicted = instances([BOX, shifted(500), shifted(200)], [0, 0, 1], [0.9, 0.95, 0.5])
        figures = evaluate(metric(), sample(predicted, instances([BOX, shifted(200), shifted(100)], [0, 1, 1])))
        # the ship comes second: precision 1/2; one of two planes is found, ahead of nothing false
        keys = [f'dota/{key}{end}' for key in ('AP50', 'AP75', 'mAP') for end in ('', '_ship', '_plane')]
        assert figures == pytest.approx(dict.fromkeys(keys, 0.5))
        assert json.loads(json.dumps(figures)) == figures
        table = log.text
        for word in ('class', 'gts', 'dets', 'recall', 'AP50', 'AP75', 'small-vehicle', 'mean'):
            assert word in table
        row = next(line for line in table.splitlines() if line.startswith('plane')).split()
        assert row == ['plane', '2', '1', '50.00', '50.00', '50.00', '50.00']
        row = next(line for line in table.splitlines() if line.startswith('small-vehicle')).split()
        assert row == ['small-vehicle', '0', '0', '-', '-', '-', '-']

    def test_eleven_points(self):
        item = sample(instances([BOX], [0], [0.9]), instances([BOX, shifted(200)], [0, 0]))
        assert evaluate(metric(ap_mode='11points'), item)['dota/AP50'] == pytest.approx(6 / 11)
        assert evaluate(metric(), item)['dota/AP50'] == pytest.approx(1 / 2)

    def test_one_class(self):
        item = sample(instances([BOX, shifted(90)], [0, 0], [0.4, 0.6]), instances([BOX], [0]))
        alone, among = evaluate(metric(('ship',)), item), evaluate(metric(), item)
        assert alone == among
        assert alone['dota/AP50'] == pytest.approx(0.5)

    def test_thresholds_and_prefix(self):
        item = sample(instances([shifted(4)], [0], [0.9]), instances([BOX], [0]))
        assert evaluate(metric(iou_thrs=0.5, prefix='val'), item) == pytest.approx(
            {'val/AP50': 1.0, 'val/mAP': 1.0, 'val/AP50_ship': 1.0, 'val/mAP_ship': 1.0}
        )
        assert set(evaluate(metric(iou_thrs=[0.6]), item)) == {'dota/mAP', 'dota/mAP_ship'}

    def test_sizes(self):
        item = sample(instances([BOX], [0], [0.9]), instances([BOX, [300, 300, 80, 80, 0]], [0, 0]))
        figures = evaluate(metric(size_thrs=(32, 96)), item)
        assert figures['dota/AP50_s'] == 1.0
        assert figures['dota/AP50_m'] == 0.0
        assert np.isnan(figures['dota/mAP_l'])

    def test_difficult_truths(self):
        predicted = instances([BOX, shifted(200)], [0, 0], [0.5, 0.9])
        difficult = instances([shifted(200)], [0])
        assert evaluate(metric(), sample(predicted, instances([BOX], [0]), difficult))['dota/AP50'] == 1.0
        assert evaluate(metric(), sample(predicted, instances([BOX], [0])))['dota/AP50'] == 0.5


class TestForms:
    def test_box_objects_quads_and_data_samples(self):
        from mmdet.structures import DetDataSample
        from mmengine.structures import InstanceData

        from stn_det.geometry import rbox_to_qbox
        from stn_det.structures import QuadriBoxes, RotatedBoxes

        predicted = instances([shifted(2)], [0], [0.9])
        rbox = instances([BOX], [0])
        expected = evaluate(metric(), sample(predicted, rbox))
        assert 0.3 < expected['dota/mAP'] < 0.9
        corners = rbox_to_qbox(rbox['bboxes'])
        for boxes in (corners, QuadriBoxes(corners), RotatedBoxes(rbox['bboxes'])):
            assert evaluate(metric(), sample(predicted, {'bboxes': boxes, 'labels': rbox['labels']})) == expected
        item = DetDataSample(metainfo={'img_id': 'P0001', 'img_path': 'x/P0001.png'})
        item.pred_instances, item.gt_instances = InstanceData(**predicted), InstanceData(**rbox)
        item.ignored_instances = InstanceData(bboxes=QuadriBoxes(torch.zeros(0, 8)), labels=torch.zeros(0))
        assert evaluate(metric(), item) == expected
        assert evaluate(metric(), item.to_dict()) == expected

    def test_no_prediction_or_no_truth_in_some_images(self):
        nothing, no_truth = instances([], [], []), instances([], [], columns=8)
        figures = evaluate(
            metric(),
            sample(nothing, no_truth, name='a'),
            sample(instances([BOX], [0], [0.9]), no_truth, name='b'),
            sample(nothing, instances([BOX], [0]), name='c'),
            sample(instances([BOX], [0], [0.5]), instances([BOX], [0]), name='d'),
        )
        assert figures['dota/AP50'] == pytest.approx(0.25)

    def test_detections_that_are_not_finite_are_left_out_and_said_once(self, log):
        nan = float('nan')
        bad = instances([BOX, BOX, [nan] * 5], [0, 0, 0], [nan, 0.9, 0.95])
        instance = metric()
        figures = evaluate(
            instance, sample(bad, instances([BOX], [0])), sample(bad, instances([BOX], [0]), name='P0002')
        )
        assert figures['dota/AP50'] == 1.0
        assert log.text.count('not finite') == 1
        assert '2 detections of image P0001' in log.text

    def test_through_the_evaluator_of_mmengine(self):
        from mmdet.structures import DetDataSample
        from mmengine.evaluator import Evaluator
        from mmengine.structures import InstanceData

        evaluator = Evaluator([{'type': 'mmdet.DOTAMetric', 'iou_thrs': 0.5}])
        evaluator.dataset_meta = {'classes': CLASSES}
        item = DetDataSample(metainfo={'img_id': 'P0001'})
        item.pred_instances = InstanceData(**instances([BOX], [1], [0.9]))
        item.gt_instances = InstanceData(**instances([BOX], [1]))
        evaluator.process([item])
        assert evaluator.evaluate(1)['dota/AP50_plane'] == 1.0


class TestHints:
    def hint(self, log, predicted, truth, classes=CLASSES):
        figures = evaluate(metric(classes), sample(predicted, truth))
        assert figures['dota/AP50'] == 0.0 or np.isnan(figures['dota/AP50'])
        assert 'no class has an AP above zero. Likely causes:' in log.text
        return log.text

    def test_class_order(self, log):
        text = self.hint(log, instances([BOX], [1], [0.9]), instances([BOX], [0]))
        assert 'class order: 100 % of the truths' in text
        assert 'degrees' not in text

    def test_degrees(self, log):
        predicted = instances([[50.0, 60.0, 40.0, 12.0, 118.6]], [0], [0.9])
        assert 'prediction angles in degrees (largest 119)' in self.hint(log, predicted, instances([BOX], [0]))

    def test_other_frame(self, log):
        predicted = instances([[100.0, 120.0, 80.0, 24.0, 0.5]], [0], [0.9])
        assert 'different frames' in self.hint(log, predicted, instances([BOX], [0]))

    def test_normalised_boxes(self, log):
        predicted = instances([[0.5, 0.6, 0.4, 0.12, 0.5]], [0], [0.9])
        assert 'in [0, 1] instead of pixels' in self.hint(log, predicted, instances([BOX], [0]))

    def test_no_truth(self, log):
        text = self.hint(log, instances([BOX], [0], [0.9]), instances([], [], columns=8))
        assert "class names of the annotations differ from ('ship', 'plane', 'small-vehicle')" in text

    def test_no_detection(self, log):
        assert 'score_thr' in self.hint(log, instances([], [], []), instances([BOX], [0]))

    def test_untrained(self, log):
        text = self.hint(log, instances([shifted(25)], [0], [0.9]), instances([BOX], [0]))
        assert 'hardly trained' in text

    def test_silent_when_something_is_found(self, log):
        evaluate(metric(), sample(instances([BOX], [0], [0.9]), instances([BOX], [0])))
        assert 'no class has' not in log.text


class TestSubmission:
    def test_files_hold_every_class_at_full_precision(self, tmp_path):
        folder = tmp_path / 'submission'
        scores = [0.123456789, 0.87654321]
        predicted = instances([BOX, shifted(100)], [0, 1], scores)
        evaluate(metric(outfile_prefix=str(folder)), sample(predicted, instances([BOX], [0])))
        names = sorted(f'Task1_{name}.txt' for name in CLASSES)
        assert sorted(path.name for path in folder.iterdir()) == ['Task1.zip', *names]
        with zipfile.ZipFile(folder / 'Task1.zip') as archive:
            assert sorted(archive.namelist()) == names
            assert archive.read('Task1_small-vehicle.txt') == b''
            fields = archive.read('Task1_ship.txt').decode().split()
        assert (folder / 'Task1_ship.txt').read_text().split() == fields
        assert fields[0] == 'P0001'
        assert np.float32(fields[1]) == np.float32(scores[0])
        corners = np.array(fields[2:], dtype=np.float64).reshape(4, 2)
        np.testing.assert_allclose(corners.mean(axis=0), BOX[:2], atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(corners[1] - corners[0]), BOX[2], atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(corners[2] - corners[1]), BOX[3], atol=1e-5)

    def test_format_only_needs_no_truth(self, tmp_path):
        instance = metric(format_only=True, outfile_prefix=str(tmp_path))
        item = {'img_id': 7, 'img_path': 'a/b/P0009.png', 'pred_instances': instances([BOX], [0], [0.9])}
        assert evaluate(instance, item) == {}
        assert (tmp_path / 'Task1_ship.txt').read_text().startswith('P0009 0.899999976 ')

    def test_a_failure_leaves_the_old_file(self, tmp_path, monkeypatch):
        from stn_det.evaluation import submission

        target = tmp_path / 'Task1_ship.txt'
        target.write_text('old')
        monkeypatch.setattr(submission.os, 'replace', lambda *_: (_ for _ in ()).throw(OSError('disk full')))
        with pytest.raises(OSError, match='disk full'):
            submission.write_atomically(target, b'new')
        assert [path.name for path in tmp_path.iterdir()] == ['Task1_ship.txt']
        assert target.read_text() == 'old'

    def test_name_with_white_space(self, tmp_path):
        item = sample(instances([BOX], [0], [0.9]), instances([BOX], [0]), name='my image')
        with pytest.raises(InputError, match="image name 'my image' is empty or holds white space"):
            evaluate(metric(outfile_prefix=str(tmp_path)), item)


class TestErrors:
    def test_missing_truth(self):
        item = {'img_id': 'P0003', 'pred_instances': instances([BOX], [0], [0.9])}
        with pytest.raises(DatasetError, match=r'image P0003 carries no truth .*LoadAnnotations'):
            metric().process({}, [item])

    def test_truth_of_horizontal_boxes(self):
        truth = {'bboxes': torch.tensor([[0.0, 0.0, 9.0, 9.0]]), 'labels': torch.zeros(1)}
        with pytest.raises(DatasetError, match=r'have 4 numbers, expected 5 or 8; .*box_type="qbox"'):
            metric().process({}, [sample(instances([BOX], [0], [0.9]), truth)])

    def test_missing_predictions(self):
        with pytest.raises(DatasetError, match='carries no pred_instances'):
            metric().process({}, [{'img_id': 'P0001', 'gt_instances': instances([BOX], [0])}])

    def test_label_outside_the_classes(self):
        item = sample(instances([BOX], [3], [0.9]), instances([BOX], [0]))
        with pytest.raises(ClassMismatchError, match=r'detections of image P0001 hold class index 3.*num_classes=3'):
            evaluate(metric(), item)

    def test_classes_given_as_text(self):
        item = sample(instances([BOX], [0], [0.9]), instances([BOX], [0]))
        with pytest.raises(ConfigError, match=r"classes are the text 'ship'; write a tuple: classes=\('ship',\)"):
            evaluate(metric('ship'), item)
        with pytest.raises(ConfigError, match='names no classes'):
            evaluate(metric(()), item)

    def test_arguments(self):
        with pytest.raises(ConfigError, match='outfile_prefix'):
            metric(format_only=True)
        with pytest.raises(InputError, match="ap_mode is '07'"):
            metric(ap_mode='07')
        with pytest.raises(ConfigError, match=r'size_thrs is \(96, 32\)'):
            metric(size_thrs=(96, 32))
