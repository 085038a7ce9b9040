"""Generates one scene from a config and a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stn_det.datasets.scenes.appearance import Appearance
from stn_det.datasets.scenes.config import SceneConfig
from stn_det.datasets.scenes.labels import label_objects
from stn_det.datasets.scenes.layouts import LAYOUTS
from stn_det.datasets.scenes.raster import Raster
from stn_det.datasets.scenes.records import Scene, SceneObject, SecondView
from stn_det.datasets.scenes.sensor import develop, develop_infrared, develop_sar
from stn_det.datasets.scenes.view import View, make_misalignment, make_second_view, make_view
from stn_det.datasets.scenes.world import World

GENERATOR_VERSION = 2
"""Raised whenever the same config and seed would give another image."""


def generate_scene(config: SceneConfig, seed: int | Sequence[int]) -> Scene:
    """Generate one scene; the same config and seed give the same bytes.

    Args:
        config: Settings.
        seed: A non-negative number, or several; scene ``index`` of a dataset has the seed ``(dataset seed, index)``.

    Returns:
        Image (H, W, 3) uint8 RGB, labelled objects in continuous pixels, meta values and the second view, if any.

    Example:
        >>> scene = generate_scene(SceneConfig(size=(256, 256)), seed=3)
        >>> scene.image.shape
        (256, 256, 3)
    """
    entropy = [int(part) for part in (seed if isinstance(seed, Sequence) else [seed])]
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(entropy).spawn(6)]
    view = make_view(config, streams[0])
    names = [name for name, _ in config.kinds]
    weights = np.array([weight for _, weight in config.kinds])
    kind = names[int(streams[1].choice(len(names), p=weights / weights.sum()))]
    world = World(streams[1], view, config, streams[1].uniform(*config.object_scale))
    LAYOUTS[kind](world)
    raster = Raster(world, view, Appearance('colour', streams[2]))
    image, sensor = develop(raster.draw(), config, streams[3])
    objects = label_objects(world.placed, view, raster.covered())
    meta = _meta(config, entropy, kind, view, world.scale, objects, sensor)
    second = None
    if config.second is not None:
        second = _second_view(config, world, view, streams[4], streams[5])
        meta['second'] = {
            'sensor': config.second,
            'second_from_first': second.second_from_first.tolist(),
            'objects': _object_meta(second.objects),
        }
    return Scene(image, objects, meta, second)


def _second_view(
    config: SceneConfig, world: World, view: View, layout: np.random.Generator, noise: np.random.Generator
) -> SecondView:
    """Draw the same ground as the second sensor sees it through its misalignment."""
    second_from_first = make_misalignment(config, layout)
    other = make_second_view(view, second_from_first)
    raster = Raster(world, other, Appearance(str(config.second), layout))
    develop_second = develop_infrared if config.second == 'infrared' else develop_sar
    image = develop_second(raster.draw(), config, noise)
    return SecondView(image, label_objects(world.placed, other, raster.covered()), second_from_first)


def _object_meta(objects: list[SceneObject]) -> list[dict[str, Any]]:
    return [
        {
            'label': item.label,
            'difficult': item.difficult,
            'visible': round(item.visible, 4),
            'heading': item.heading,
            'ground': item.ground.tolist(),
        }
        for item in objects
    ]


def _meta(
    config: SceneConfig,
    seed: list[int],
    kind: str,
    view: View,
    scale: float,
    objects: list[SceneObject],
    sensor: dict[str, float],
) -> dict[str, Any]:
    """Everything known about a scene as JSON values; angles in degrees, headings in radians."""
    return {
        'generator': 'stn_det.datasets.scenes',
        'generator_version': GENERATOR_VERSION,
        'seed': seed,
        'kind': kind,
        'width': config.size[0],
        'height': config.size[1],
        'gsd': view.gsd,
        'yaw': view.yaw,
        'obliquity': view.obliquity,
        'tilt_azimuth': view.tilt_azimuth,
        'sun': {'azimuth': view.sun_azimuth, 'elevation': view.sun_elevation},
        'object_scale': scale,
        'dst_from_ground': view.dst_from_ground.tolist(),
        'sensor': {name: float(value) for name, value in sensor.items()},
        'config': config.to_dict(),
        'objects': _object_meta(objects),
    }
