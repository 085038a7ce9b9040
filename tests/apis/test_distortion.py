"""The whole benchmark, as small as it gets: what it measures, keeps and writes."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from stn_det.apis import DistortionReport, distortion, distortion_benchmark, distortion_report, test
from stn_det.apis.distortion_model import level_config, prepare_model
from stn_det.apis.distortion_plan import Settings
from stn_det.apis.testing import run_test
from stn_det.errors import InputError

LEVELS = {'rotation': (0, 90), 'obliquity': (40,)}


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the benchmark below."""
    return tmp_path_factory.mktemp('distortion')


@pytest.fixture(scope='module')
def report(scene_config: Path, small_checkpoint: Path, folder: Path) -> DistortionReport:
    """One model under two distortions of two images."""
    return benchmark(scene_config, small_checkpoint, folder)


def benchmark(config: Path, checkpoint: Path, folder: Path, *more: tuple, **kwargs: Any) -> DistortionReport:
    settings = dict(levels=LEVELS, max_images=2, out_dir=folder, device='cpu', progress=False) | kwargs
    return distortion_benchmark([(config, checkpoint), *more], **settings)


class Stub:
    """Stands in for the test loop; remembers what it was asked to measure."""

    def __init__(self, stop_after: int = 99) -> None:
        self.calls: list[tuple[str, float]] = []
        self.stop_after = stop_after

    def __call__(self, cfg: Any, device: str | None, hooks: Any = ()) -> dict[str, float]:
        if len(self.calls) == self.stop_after:
            raise KeyboardInterrupt
        step = next(step for step in cfg.test_dataloader.dataset.pipeline if step.type == 'DistortImage')
        self.calls.append((step.family, step.level))
        hooks[0].after_test_iter(None, 0, outputs=[None] * 2)
        ap = dict.fromkeys(('AP50', 'AP75', 'mAP'), 0.9 - step.level / 1000)
        counts = dict(objects=5, ignored=1, images=2)
        return {f'{prefix}/{key}': value for prefix in ('dota', 'truth') for key, value in (ap | counts).items()}


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    made = Stub()
    monkeypatch.setattr(distortion, 'run_test', made)
    return made


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws no curves, which takes longer than all the rest."""
    monkeypatch.setattr(distortion_report, 'plot_distortion_curves', lambda panels, out_file, *labels: out_file)


def test_the_record_is_complete(report: DistortionReport, folder: Path) -> None:
    stored = json.loads((folder / 'distortion.json').read_text())
    assert stored == json.loads(json.dumps(report.record))
    assert stored['settings'] == {'seed': 0, 'max_images': 2, 'min_visible': 0.75, 'images': 2}
    assert stored['device'] == 'cpu'
    assert {'torch', 'mmdet'} <= set(stored['versions'])
    assert set(stored['models'][0]['sha256']) == {'config', 'checkpoint', 'data'}
    assert {name: family['levels'] for name, family in stored['families'].items()} == {
        'rotation': [0, 90], 'obliquity': [0, 40],
    }  # fmt: skip
    for family in stored['families'].values():
        levels = family['models']['scenes']['levels']
        assert [row['level'] for row in levels] == family['levels']
        assert {row['images'] for row in levels} == {2}
        assert {row['objects'] for row in levels} == {family['objects']} != {0}
        assert all(0 <= row['mAP'] <= 1 for row in (*levels, *family['rectangles']))
        for row in levels:
            by_class = row['classes']['mAP']
            assert set(by_class) == set(row['classes']['AP50'])
            assert sum(by_class.values()) / len(by_class) == pytest.approx(row['mAP'])


def test_a_quarter_turn_keeps_the_rectangles_of_the_truth(report: DistortionReport) -> None:
    still, turned = report.record['families']['rotation']['rectangles']
    assert turned == pytest.approx(dict(still, level=90))
    assert still['AP50'] == 1


def test_table_and_curves_are_written(report: DistortionReport, folder: Path) -> None:
    assert [path.name for path in report.files] == [
        'distortion.json', 'distortion.md', 'distortion_AP50.png', 'distortion_AP75.png', 'distortion_mAP.png',
    ]  # fmt: skip
    assert (folder / 'distortion.md').read_text() == report.table()
    assert '| scenes | mAP |' in report.table()
    for picture in report.files[2:]:
        assert min(cv2.imread(str(picture)).shape[:2]) > 400


def test_a_second_call_measures_nothing(
    report: DistortionReport, scene_config: Path, small_checkpoint: Path, folder: Path, stub: Stub
) -> None:
    again = benchmark(scene_config, small_checkpoint, folder)
    assert stub.calls == []
    assert again.record['families'] == report.record['families']


def test_the_identity_is_the_plain_test(scene_config: Path, small_checkpoint: Path, tmp_path: Path) -> None:
    settings = Settings(min_visible=0)
    plain = test(scene_config, small_checkpoint, work_dir=tmp_path, out=tmp_path / 'a.pkl', device='cpu')
    model = prepare_model(scene_config, small_checkpoint, 'a', settings)
    cfg = level_config(model, 'scale', 1.0, (0.5, 1.0, 2.0), settings, tmp_path)
    distorted = run_test(cfg, 'cpu', dump=tmp_path / 'b.pkl')
    assert {name: value for name, value in distorted.items() if name in plain} == pytest.approx(
        plain, rel=0, abs=0, nan_ok=True
    )
    first, second = (pickle.loads((tmp_path / name).read_bytes()) for name in ('a.pkl', 'b.pkl'))
    assert len(first) == len(second) == 4
    for a, b in zip(first, second):
        assert len(a['pred_instances']['scores']) > 0
        assert all(torch.equal(value, b['pred_instances'][key]) for key, value in a['pred_instances'].items())


@pytest.mark.usefixtures('no_pictures')
def test_an_interrupted_benchmark_goes_on(
    scene_config: Path, small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distortion, 'run_test', Stub(stop_after=3))
    with pytest.raises(KeyboardInterrupt):
        benchmark(scene_config, small_checkpoint, tmp_path)
    assert not (tmp_path / 'distortion.json').exists()
    rest = Stub()
    monkeypatch.setattr(distortion, 'run_test', rest)
    report = benchmark(scene_config, small_checkpoint, tmp_path)
    assert rest.calls == [('obliquity', 40)]
    assert report.record['families']['obliquity']['models']['scenes']['summary']['worst']['level'] == 40


@pytest.mark.usefixtures('no_pictures')
@pytest.mark.parametrize(
    ('change', 'word', 'count'),
    [
        (dict(cfg_options={'model.test_cfg.score_thr': 0.5}), 'config', 4),
        (dict(levels=LEVELS | {'rotation': (0, 45, 90)}), 'levels', 3),
        (dict(seed=1, max_images=99), 'data, max_images, seed', 4),
        (dict(min_visible=0.5), 'min_visible', 4),
    ],
)
def test_what_has_changed_is_measured_again(
    scene_config: Path, small_checkpoint: Path, tmp_path: Path, stub: Stub,
    capsys: pytest.CaptureFixture[str], change: dict[str, Any], word: str, count: int,
) -> None:  # fmt: skip
    benchmark(scene_config, small_checkpoint, tmp_path)
    stub.calls.clear()
    capsys.readouterr()
    benchmark(scene_config, small_checkpoint, tmp_path, **change)
    assert len(stub.calls) == count
    assert f'are measured again, because of a change of {word}.' in capsys.readouterr().err


@pytest.mark.usefixtures('no_pictures')
def test_another_checkpoint_is_noticed(scene_config: Path, small_checkpoint: Path, tmp_path: Path, stub: Stub) -> None:
    checkpoint = tmp_path / 'weights.pth'
    shutil.copy(small_checkpoint, checkpoint)
    benchmark(scene_config, checkpoint, tmp_path / 'out')
    content = torch.load(checkpoint, weights_only=True)
    next(iter(content['state_dict'].values())).add_(1)
    torch.save(content, checkpoint)
    stub.calls.clear()
    benchmark(scene_config, checkpoint, tmp_path / 'out')
    assert len(stub.calls) == 4


@pytest.mark.usefixtures('no_pictures')
def test_several_models_in_one_call(scene_config: Path, small_checkpoint: Path, tmp_path: Path, stub: Stub) -> None:
    report = benchmark(
        scene_config, small_checkpoint, tmp_path, (scene_config, small_checkpoint), names=['plain', 'with STN']
    )
    assert len(stub.calls) == 8
    assert list(report.record['families']['rotation']['models']) == ['plain', 'with STN']
    assert '| with STN | mAP | 90.0 | 81.0 |' in report.table().splitlines()
    assert (tmp_path / 'levels' / 'with_STN' / 'rotation_90.json').is_file()
    with pytest.raises(InputError, match='several models would be called'):
        benchmark(scene_config, small_checkpoint, tmp_path, (scene_config, small_checkpoint))


@pytest.mark.usefixtures('no_pictures')
def test_the_progress_bar_counts_images(
    scene_config: Path, small_checkpoint: Path, tmp_path: Path, stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark(scene_config, small_checkpoint, tmp_path, progress=True)
    benchmark(scene_config, small_checkpoint, tmp_path, progress=True)
    lines = capsys.readouterr().err.strip().split('\n')
    assert all('8/8' in line and 'scenes, obliquity 40' in line for line in lines), lines


@pytest.mark.usefixtures('no_pictures')
def test_figures_that_do_not_exist_are_null(
    scene_config: Path, small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nothing(Stub):
        def __call__(self, *args: Any, **kwargs: Any) -> dict[str, float]:
            return {
                name: value if 'objects' in name or 'i' in name.partition('/')[2] else float('nan')
                for name, value in super().__call__(*args, **kwargs).items()
            }

    monkeypatch.setattr(distortion, 'run_test', Nothing())
    report = benchmark(scene_config, small_checkpoint, tmp_path)
    assert 'NaN' not in (tmp_path / 'distortion.json').read_text()
    assert '| scenes | mAP | - | - |' in report.table().splitlines()
