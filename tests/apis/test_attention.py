"""Pictures of attention, with a tiny untrained transformer: what is sampled where, which queries, and the command."""

import importlib.util
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from stn_det import apis
from stn_det.apis.attention import choose_queries, view_layer
from stn_det.errors import ConfigError, InputError

CHANNELS, HEADS, LEVELS, POINTS, QUERIES, LAYERS = 32, 4, 2, 3, 12, 2


def transformer(classes: int) -> dict:
    """A two-stage transformer with the hybrid encoder, on MobileNetV2 at strides 8 and 16."""
    attention = dict(embed_dims=CHANNELS, num_heads=HEADS, num_levels=LEVELS, num_points=POINTS)
    layer = dict(
        self_attn_cfg=dict(embed_dims=CHANNELS, num_heads=HEADS),
        cross_attn_cfg=attention,
        ffn_cfg=dict(embed_dims=CHANNELS, feedforward_channels=CHANNELS),
    )
    return dict(
        _delete_=True,
        type='RotatedDeformableDETR',
        data_preprocessor=dict(type='DetDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255], pad_size_divisor=32),
        backbone=dict(type='MobileNetV2', widen_factor=0.25, out_indices=(2, 4)),
        encoder=dict(
            type='HybridEncoder', in_channels=[8, 24], out_channels=CHANNELS, num_heads=HEADS, feedforward_channels=32
        ),
        decoder=dict(num_layers=LAYERS, layer_cfg=layer),
        bbox_head=dict(
            type='RotatedDeformableDETRHead',
            num_classes=classes,
            embed_dims=CHANNELS,
            loss_angle=dict(type='PeriodicL1Loss', loss_weight=1.6),
            loss_iou=dict(type='GaussianBoxLoss', distance='kld', loss_weight=5.0),
        ),
        num_queries=QUERIES,
        num_feature_levels=LEVELS,
        with_box_refine=True,
        as_two_stage=True,
    )


@pytest.fixture(scope='module')
def detr(small_config: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Config and checkpoint; offsets and weights depend on the query, boxes on the layer."""
    from mmdet.registry import MODELS

    folder = tmp_path_factory.mktemp('detr')
    cfg = apis.load_config(small_config)
    classes = apis.config_classes(cfg)
    cfg.model = {key: value for key, value in transformer(len(classes)).items() if key != '_delete_'}
    cfg.dump(folder / 'detr.py')
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    for layer in model.decoder.layers:
        torch.nn.init.normal_(layer.cross_attn.sampling_offsets.weight, std=0.1)
        torch.nn.init.normal_(layer.cross_attn.attention_weights.weight, std=0.5)
    for branch in model.bbox_head.parameters():
        torch.nn.init.normal_(branch, std=0.1)
    meta = {'dataset_meta': {'classes': classes}}
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, folder / 'random.pth')
    return folder / 'detr.py', folder / 'random.pth'


@pytest.fixture
def predictor(detr: tuple[Path, Path]) -> apis.Predictor:
    return apis.Predictor(*detr, device='cpu')


@pytest.fixture
def image(images: Path) -> Path:
    """120 x 80 pixels; the config scales it to 96 x 64, which needs no padding."""
    return images / 'a.v1.png'


@pytest.mark.parametrize('layer', [0, 1, -1])
def test_points_lie_where_references_and_offsets_say(predictor: apis.Predictor, image: Path, layer: int) -> None:
    attention = predictor.model.decoder.layers[layer].cross_attn
    offsets: list[torch.Tensor] = []
    attention.sampling_offsets.register_forward_hook(lambda _, args, output: offsets.append(output))
    view = view_layer(predictor.model, predictor.pipeline({'img_path': str(image), 'img_id': 0}), layer)
    assert view.layer == layer % LAYERS
    assert view.points.shape == (QUERIES, HEADS, LEVELS, POINTS, 2)
    assert torch.allclose(view.weights.sum((-1, -2)), torch.ones(QUERIES, HEADS))
    steps = offsets[0].view(QUERIES, HEADS, LEVELS, POINTS, 2)
    x, y, w, h, theta = view.references.view(QUERIES, 1, 1, 1, 5).unbind(-1)
    along, across = (steps * torch.stack([w, h], -1) / (2 * POINTS)).unbind(-1)
    expected = torch.stack(
        [x + theta.cos() * along - theta.sin() * across, y + theta.sin() * along + theta.cos() * across], -1
    )
    assert theta.std() > 0.01
    torch.testing.assert_close(view.points, expected, rtol=1e-4, atol=1e-3)


def test_boxes_and_scores_are_those_of_the_layers(predictor: apis.Predictor, image: Path) -> None:
    """The last layer's are predicted; it looked from the boxes of the one before."""
    packed = predictor.pipeline({'img_path': str(image), 'img_id': 0})
    first, last = (view_layer(predictor.model, packed, layer) for layer in (0, 1))
    torch.testing.assert_close(last.references, first.boxes, rtol=1e-4, atol=1e-3)
    found = predictor(image)
    best = last.scores.amax(1).argmax()
    assert found.scores[0] == pytest.approx(last.scores.max().item(), abs=1e-5)
    # from 96 x 64 pixels of the network to 120 x 80 of the image
    assert found.boxes[0, :2] == pytest.approx((last.boxes[best, :2] * 1.25).numpy(), abs=1e-2)
    assert sorted(found.boxes[0, 2:4]) == pytest.approx(sorted((last.boxes[best, 2:4] * 1.25).tolist()), abs=1e-2)


def test_nothing_stays_behind_in_the_model(predictor: apis.Predictor, image: Path) -> None:
    view_layer(predictor.model, predictor.pipeline({'img_path': str(image), 'img_id': 0}))
    for layer in predictor.model.decoder.layers:
        assert layer.cross_attn.record is None
        assert not layer.cross_attn._forward_pre_hooks


def test_queries_are_chosen_by_score(predictor: apis.Predictor, image: Path) -> None:
    view = view_layer(predictor.model, predictor.pipeline({'img_path': str(image), 'img_id': 0}))
    scores = view.scores.amax(1)
    order = scores.argsort(descending=True).tolist()
    assert choose_queries(view, None, 3, 0.0) == order[:3]
    assert choose_queries(view, None, 99, scores[order[1]].item()) == order[:2]
    assert choose_queries(view, [7, 2], 1, 1.0) == [7, 2]
    for wrong in ([QUERIES], [-1], [3, 40], []):
        with pytest.raises(InputError, match=r'queries are \[.*\]; expected numbers from 0 to 11'):
            choose_queries(view, wrong, 1, 0.0)
    with pytest.raises(InputError, match=r'no query of layer 1 has a score of 1.5; the best has 0\.\d+. Lower'):
        choose_queries(view, None, 3, 1.5)
    with pytest.raises(InputError, match='best is 0; expected 1 or more'):
        choose_queries(view, None, 0, 0.0)


def test_picture_in_pixels_of_the_image(
    detr: tuple[Path, Path], image: Path, tmp_path: Path, predictor: apis.Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is drawn is what was sampled, enlarged by 1.25 as the image was reduced."""
    drawn: list[Any] = []
    monkeypatch.setattr(
        'stn_det.apis.attention.draw_query_attention',
        lambda pixels, query, *options: drawn.append((query, options)) or pixels,
    )
    picture = apis.draw_attention(
        *detr, image, tmp_path / 'below' / 'a.png', layer=0, queries=[3, 5], color_by='head', zoom=True, device='cpu'
    )
    view = view_layer(predictor.model, predictor.pipeline({'img_path': str(image), 'img_id': 0}), 0)
    assert [options for _, options in drawn] == [('head', True)] * 2
    for number, (query, _) in zip((3, 5), drawn, strict=True):
        assert query.points == pytest.approx(1.25 * view.points[number].numpy(), rel=1e-4, abs=1e-3)
        assert query.weights == pytest.approx(view.weights[number].numpy(), abs=1e-5)
        corners = query.reference.reshape(4, 2)
        assert corners.mean(0) == pytest.approx(1.25 * view.references[number, :2].numpy(), rel=1e-4)
        sides = np.linalg.norm(np.diff(corners[:3], axis=0), axis=1)
        assert sides == pytest.approx(1.25 * view.references[number, 2:4].numpy(), rel=1e-4)
    assert picture.queries == (3, 5)
    assert picture.layer == 0
    assert cv2.imread(str(picture.path)).shape == (80, 120 * 2 + 6, 3)


def test_a_plain_transformer_looks_from_points(detr: tuple[Path, Path], image: Path) -> None:
    from mmdet.registry import MODELS

    cfg = apis.load_config(detr[0])
    cfg.model.update(with_box_refine=False, as_two_stage=False)
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model).eval()
    packed = apis.Predictor(*detr, device='cpu').pipeline({'img_path': str(image), 'img_id': 0})
    view = view_layer(model, packed, 0)
    assert view.references.shape == (QUERIES, 2)
    assert view.boxes.shape == (QUERIES, 5)
    assert (view.references > 0).all()
    assert (view.references < torch.tensor([96, 64])).all()


def test_layers_and_models_that_do_not_fit(
    detr: tuple[Path, Path], image: Path, tmp_path: Path, small_config: Path, small_checkpoint: Path
) -> None:
    for layer in (LAYERS, -LAYERS - 1):
        with pytest.raises(InputError, match=rf'layer is {layer}; the decoder has layers 0 to 1, negative from'):
            apis.draw_attention(*detr, image, tmp_path / 'a.png', layer=layer, device='cpu')
    with pytest.raises(ConfigError, match='SingleStageDetector has no RotatedDeformableAttention in a decoder'):
        apis.draw_attention(small_config, small_checkpoint, image, tmp_path / 'a.png', device='cpu')
    with pytest.raises(InputError, match=r"'a.gif' ends in '.gif'; expected .png"):
        apis.draw_attention(*detr, image, tmp_path / 'a.gif', device='cpu')
    assert not list(tmp_path.glob('a.*'))


@pytest.fixture
def tool(repository: Path) -> Any:
    path = repository / 'tools' / 'analysis' / 'draw_attention.py'
    spec = importlib.util.spec_from_file_location('draw_attention_tool', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_command(tool: Any, detr: tuple[Path, Path], image: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / 'best.png'
    arguments = [*map(str, detr), str(image), '-o', str(out), '--device', 'cpu']
    assert tool.main([*arguments, '--best', '2', '--layer', '0']) == 0
    first, second, written = capsys.readouterr().out.splitlines()
    assert first.startswith('layer 0, query ')
    assert 'largest weight ' in second
    assert written == f'written: {out}'
    picture = cv2.imread(str(out))[..., ::-1]
    original = cv2.imread(str(image))[..., ::-1]
    assert picture.shape == (80, 120 * 2 + 6, 3)
    same = (picture[:, :120] == original).all(-1)
    assert 0.02 < same.mean() < 1

    assert tool.main([*arguments, '--query', '5', '--color-by', 'head', '--zoom']) == 0
    assert max(cv2.imread(str(out)).shape) == 640
    assert tool.main([*arguments, '--query', '99']) == 1
    assert 'error: queries are [99]; expected numbers from 0 to 11' in capsys.readouterr().err


def test_help_has_examples(tool: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match='0'):
        tool.main(['--help'])
    assert 'examples:' in capsys.readouterr().out
