"""The experiment with distorted digits runs, goes on where it was, and distorts as the paper says."""

import gzip
import json
import math
import sys

import pytest
import torch

from stn_det.errors import InputError


@pytest.fixture(autouse=True)
def _scripts(repository, monkeypatch):
    """The folder of the benchmarks is where their scripts import from."""
    monkeypatch.syspath_prepend(str(repository / 'benchmarks'))
    yield
    for name in [name for name in sys.modules if name.split('.')[0] in ('digits', 'record', 'distorted_digits')]:
        del sys.modules[name]


def write_idx(path, array):
    header = b'\0\0\x08' + bytes([array.dim()]) + b''.join(size.to_bytes(4, 'big') for size in array.shape)
    data = header + array.numpy().tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == '.gz' else data)


@pytest.fixture
def mnist(tmp_path):
    """Noise in the form of MNIST."""
    folder = tmp_path / 'mnist'
    folder.mkdir()
    for part, count, end in (('train', 24, ''), ('t10k', 12, '.gz')):
        images, labels = torch.randint(256, (count, 28, 28)).byte(), torch.randint(10, (count,)).byte()
        write_idx(folder / f'{part}-images-idx3-ubyte{end}', images)
        write_idx(folder / f'{part}-labels-idx1-ubyte{end}', labels)
    return folder


def test_runs_once_and_resumes(mnist, tmp_path, capsys):
    import distorted_digits

    common = [
        '--mnist',
        str(mnist),
        '--work-dir',
        str(tmp_path),
        '--results',
        str(tmp_path),
        '--models',
        'cnn',
        'affine',
    ]
    common += ['--distortions', 'R', '--steps', '2', '--batch', '4', '--copies', '2']
    distorted_digits.main([*common, '--seeds', '1'])
    path = tmp_path / 'distorted_mnist.json'
    first = json.loads(path.read_text())
    assert set(first['runs']) == {'R_cnn_0', 'R_affine_0'}
    sizes = [run['parameters'] for run in first['runs'].values()]
    assert sizes == pytest.approx([60_000] * 2, rel=0.01)
    first['runs']['R_cnn_0']['error_percent'] = 12.5  # kept, not measured again
    path.write_text(json.dumps(first))
    distorted_digits.main([*common, '--seeds', '2'])
    second = json.loads(path.read_text())['runs']
    assert set(second) == {'R_cnn_0', 'R_affine_0', 'R_cnn_1', 'R_affine_1'}
    assert second['R_cnn_0']['error_percent'] == 12.5
    assert (tmp_path / 'distorted_mnist' / 'transformed.png').stat().st_size > 0
    assert '| cnn |' in capsys.readouterr().out
    with pytest.raises(InputError, match=r"holds runs with \{'steps': 2\}, asked for is \{'steps': 3\}"):
        distorted_digits.main([*common, '--steps', '3'])


@pytest.mark.parametrize('name', ['R', 'RTS', 'P', 'E'])
def test_distortions_are_drawn_anew_and_repeat_by_seed(name):
    from digits.distortions import CANVAS, distort

    images = torch.rand(1, 1, 28, 28).expand(3, -1, -1, -1)
    found = distort(images, name, torch.Generator().manual_seed(3))
    assert found.shape == (3, 1, CANVAS[name], CANVAS[name])
    assert torch.equal(found, distort(images, name, torch.Generator().manual_seed(3)))
    assert (found[0] - found[1]).abs().max() > 0.1


def test_turns_and_scales_are_those_of_the_paper():
    from digits.distortions import draw_warps

    generator = torch.Generator().manual_seed(0)
    for name, turn, scale in (('R', 90, (1, 1)), ('RTS', 45, (0.7, 1.2))):
        matrix = draw_warps(3000, name, generator).dst_from_src
        angles, scales = torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]), matrix[:, :2, 0].norm(dim=1)
        assert angles.aminmax().max.rad2deg() == pytest.approx(turn, rel=0.01)
        assert angles.aminmax().min.rad2deg() == pytest.approx(-turn, rel=0.01)
        assert scales.min() == pytest.approx(scale[0], rel=0.01)
        assert scales.max() == pytest.approx(scale[1], rel=0.01)
    centers = draw_warps(3000, 'RTS', generator).transform_points(torch.full((3000, 1, 2), 14.0))
    assert centers.amin((0, 1)).tolist() == pytest.approx([14, 14], abs=0.1)
    assert centers.amax((0, 1)).tolist() == pytest.approx([28, 28], abs=0.1)


def test_corners_and_control_points_are_those_of_the_paper():
    from digits.distortions import draw_warps

    generator = torch.Generator().manual_seed(0)
    projected = draw_warps(3000, 'P', generator)
    assert projected.is_regular().all()
    corner = projected.transform_points(torch.zeros(3000, 1, 2).double())[:, 0]
    assert corner.mean(0).tolist() == pytest.approx([14 * 0.125] * 2, abs=0.4)
    assert corner.std(0).tolist() == pytest.approx([math.hypot(5, 14 * 0.25 / math.sqrt(12))] * 2, abs=0.4)
    bent = draw_warps(1000, 'E', generator)
    control = torch.tensor([[[28 / 3, 28 / 3]]], dtype=torch.float64).expand(1000, 1, 2)
    assert (bent.inverse().transform_points(control) - control).std().item() == pytest.approx(1.5, rel=0.05)


@pytest.mark.parametrize('canvas', [28, 42])
def test_all_models_have_as_many_weights(canvas):
    from digits.networks import MODELS, build, count

    sizes = [count(build(model, canvas, 60_000)) for model in MODELS]
    assert sizes == pytest.approx([60_000] * 4, rel=0.015)


def test_idx_files(tmp_path):
    from digits.data import load, read_idx

    values = torch.randint(256, (3, 4, 5)).byte()
    write_idx(tmp_path / 'a', values)
    assert torch.equal(read_idx(tmp_path / 'a'), values)
    (tmp_path / 'short').write_bytes((tmp_path / 'a').read_bytes()[:-1])
    with pytest.raises(InputError, match=r'has 75 bytes, expected 76 for \[3, 4, 5\]'):
        read_idx(tmp_path / 'short')
    (tmp_path / 'b.gz').write_bytes(b'no archive')
    with pytest.raises(InputError, match='cannot be unpacked'):
        read_idx(tmp_path / 'b.gz')
    (tmp_path / 'c').write_bytes(b'\x89PNG')
    with pytest.raises(InputError, match='begins with 89504e47'):
        read_idx(tmp_path / 'c')
    with pytest.raises(InputError, match='has no train-images-idx3-ubyte'):
        load(tmp_path, validate=False)


def test_validation_leaves_the_test_set_alone(mnist):
    from digits.data import load

    for path in mnist.glob('t10k*labels*'):
        write_idx(path, torch.full((12,), 7).byte())
    train, _ = load(mnist, validate=False)
    part, held_out = load(mnist, validate=True)
    assert len(part) + len(held_out) == len(train) == 24
    assert len(held_out) == 4
    assert torch.equal(held_out.images, train.images[::6])


def test_digits_of_sklearn():
    pytest.importorskip('sklearn')
    from digits.data import load

    train, test = load(None, validate=False)
    assert (len(train), len(test)) == (1200, 597)
    assert train.images.shape == (1200, 1, 28, 28)
    rows, columns = train.images.amax((0, 1)).nonzero().unbind(1)
    assert rows.min() >= 3
    assert columns.max() <= 24
    assert train.images.max() == 1
