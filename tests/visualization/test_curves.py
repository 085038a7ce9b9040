import json

import cv2
import numpy as np
import pytest

from stn_det.errors import InputError


def _curves():
    from stn_det.visualization import curves

    return curves


def write_run(path, epochs=4, iters=20, interval=5, by_epoch=True):
    lines = []
    for step in range(interval, epochs * iters + 1, interval):
        epoch = (step - 1) // iters + 1
        line = {'lr': 0.01, 'loss': 3.0 / step, 'loss_cls': 2.0 / step, 'loss_bbox': 1.0 / step, 'iter': step}
        lines.append({**line, **({'epoch': epoch} if by_epoch else {}), 'step': step})
        if step % iters == 0:
            figures = {'dota/AP50': epoch / 10, 'dota/AP75': epoch / 20, 'dota/mAP': epoch / 25}
            lines.append({**figures, 'time': 0.1, 'step': epoch if by_epoch else step})
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    return path


def test_history_of_an_epoch_run(tmp_path):
    history = _curves().read_history(write_run(tmp_path / 'scalars.json'))
    assert history.iters_per_epoch == 20
    assert history.train['loss'][0] == [float(step) for step in range(5, 81, 5)]
    assert history.validation['dota/AP50'] == ([1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4])
    assert 'epoch' not in history.train


def test_history_when_the_log_skips_the_end_of_an_epoch(tmp_path):
    history = _curves().read_history(write_run(tmp_path / 'scalars.json', iters=22, interval=5, epochs=5))
    assert 20 <= history.iters_per_epoch <= 25


def test_history_of_an_iteration_run(tmp_path):
    history = _curves().read_history(write_run(tmp_path / 'scalars.json', by_epoch=False))
    assert history.iters_per_epoch is None
    assert history.validation['dota/mAP'][0] == [20, 40, 60, 80]


def test_a_line_cut_off_is_left_out(tmp_path):
    file = write_run(tmp_path / 'scalars.json')
    whole = _curves().read_history(file)
    file.write_text(file.read_text() + '{"loss": 0.1, "st')
    assert _curves().read_history(file) == whole


def test_the_log_of_a_real_run(tmp_path):
    import torch
    from mmengine.model import BaseModel
    from mmengine.runner import Runner

    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(1, 1)

        def forward(self, inputs, data_samples=None, mode='tensor'):
            return {'loss_cls': self.linear(torch.ones(1, 1)).square().mean()}

    runner = Runner(
        Model(),
        str(tmp_path),
        train_dataloader=torch.utils.data.DataLoader([{'inputs': torch.ones(1)}] * 6, batch_size=1),
        optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 0.1}},
        train_cfg={'by_epoch': True, 'max_epochs': 2},
        default_hooks={'logger': {'type': 'LoggerHook', 'interval': 2}},
        experiment_name='curves_test',
        log_level='WARNING',
        visualizer={'type': 'Visualizer', 'vis_backends': [{'type': 'LocalVisBackend'}], 'name': 'curves_test'},
    )
    runner.train()
    (file,) = tmp_path.rglob('scalars.json')
    history = _curves().read_history(file)
    assert history.iters_per_epoch == 6
    assert history.train['loss'][0] == [2, 4, 6, 8, 10, 12]
    assert set(history.train) >= {'loss', 'loss_cls', 'lr'}


def test_smoothing():
    smooth = _curves().smooth
    np.testing.assert_allclose(smooth([1, 2, 3, 4, 5], 3), [1.5, 2, 3, 4, 4.5])
    np.testing.assert_allclose(smooth([1, np.nan, 3], 3), [1, 2, 3])
    np.testing.assert_allclose(smooth([4, 5], 1), [4, 5])
    assert len(smooth([], 5)) == 0


@pytest.mark.parametrize('by_epoch', [True, False])
def test_training_curves_are_written(tmp_path, by_epoch):
    file = write_run(tmp_path / 'scalars.json', by_epoch=by_epoch)
    out = _curves().plot_training_curves(file, tmp_path / 'plots' / 'curves.png', title='a run')
    image = cv2.imread(str(out))
    assert image.shape[0] > 600
    assert 0.02 < (image < 200).any(axis=2).mean() < 0.3


def test_nan_losses_and_no_validation(tmp_path):
    file = tmp_path / 'scalars.json'
    lines = [{'loss': value, 'loss_cls': 1.0, 'step': step} for step, value in ((1, 1.0), (2, float('nan')))]
    file.write_text('\n'.join(json.dumps(line) for line in lines))
    assert _curves().plot_training_curves(file, tmp_path / 'curves.png').is_file()


def test_precision_recall_curves_are_written(tmp_path):
    recall = np.linspace(0.1, 0.9, 9)
    curves = {'ship': (recall, 1 - recall / 2), 'plane': (recall / 2, 1 - recall), 'none': (np.zeros(0), np.zeros(0))}
    out = _curves().plot_pr_curves(curves, tmp_path / 'pr.png', {'ship': 0.7, 'plane': 0.3, 'none': float('nan')})
    assert cv2.imread(str(out)).shape[1] > 800


def test_the_backend_of_the_user_stays(tmp_path):
    import matplotlib

    before = matplotlib.get_backend()
    _curves().plot_training_curves(write_run(tmp_path / 'scalars.json'), tmp_path / 'curves.png')
    import matplotlib.pyplot as plt

    assert matplotlib.get_backend() == before
    assert plt.get_fignums() == []


def test_errors(tmp_path):
    with pytest.raises(InputError, match=r'none\.json does not exist'):
        _curves().read_history(tmp_path / 'none.json')
    (tmp_path / 'empty.json').write_text('{"dota/AP50": 0.3, "step": 1}\n')
    with pytest.raises(InputError, match=r'empty\.json holds no line with a loss'):
        _curves().read_history(tmp_path / 'empty.json')
    with pytest.raises(InputError, match='got no curves'):
        _curves().plot_pr_curves({}, tmp_path / 'pr.png')
    with pytest.raises(InputError, match=r"ends in 'bmp'"):
        _curves().plot_training_curves(write_run(tmp_path / 'scalars.json'), tmp_path / 'curves.bmp')
