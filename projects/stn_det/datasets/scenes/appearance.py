"""How each sensor sees ground and materials: colour, thermal infrared or radar."""

from __future__ import annotations

import numpy as np

from stn_det.datasets.scenes.shapes import Colour

# Per land cover: tile, pairs of colours that its mixture channel blends, strength of mixture, strength of detail.
_COVERS: dict[str, tuple[str, tuple[tuple[Colour, Colour], ...], float, float]] = {
    'asphalt': (
        'asphalt',
        (
            ((96, 96, 94), (112, 111, 108)),
            ((80, 80, 80), (96, 95, 93)),
            ((116, 114, 110), (130, 128, 123)),
            ((104, 101, 97), (119, 116, 111)),
        ),
        0.45,
        0.05,
    ),
    'road': (
        'asphalt',
        (((104, 103, 100), (118, 116, 112)), ((124, 122, 117), (138, 135, 129)), ((90, 91, 91), (104, 103, 102))),
        0.4,
        0.045,
    ),
    'concrete': (
        'concrete',
        (((156, 153, 144), (174, 170, 160)), ((140, 138, 132), (158, 155, 147)), ((172, 168, 156), (188, 183, 170))),
        0.40,
        0.055,
    ),
    'grass': (
        'grass',
        (
            ((78, 86, 58), (112, 110, 78)),
            ((90, 92, 66), (132, 124, 92)),
            ((66, 80, 52), (90, 98, 64)),
            ((112, 106, 74), (146, 134, 100)),
        ),
        0.40,
        0.12,
    ),
    'mown': ('mown', (((76, 90, 58), (98, 108, 72)), ((88, 96, 64), (114, 116, 82))), 0.35, 0.07),
    'soil': (
        'soil',
        (((136, 120, 98), (164, 147, 121)), ((120, 108, 92), (150, 136, 116)), ((150, 138, 118), (176, 163, 140))),
        0.42,
        0.06,
    ),
    'gravel': ('soil', (((142, 137, 128), (162, 157, 146)), ((126, 122, 115), (148, 143, 134))), 0.40, 0.065),
    'sand': ('soil', (((186, 172, 142), (206, 193, 164)),), 0.40, 0.03),
    'water': (
        'water',
        (
            ((46, 58, 58), (56, 68, 67)),
            ((42, 52, 60), (50, 61, 69)),
            ((58, 68, 58), (68, 78, 66)),
            ((34, 44, 50), (41, 52, 58)),
        ),
        0.35,
        0.10,
    ),
    'crop': (
        'crop',
        (((84, 98, 58), (110, 118, 74)), ((156, 142, 102), (178, 162, 120)), ((106, 110, 72), (140, 134, 94))),
        0.40,
        0.12,
    ),
    'plough': ('plough', (((108, 88, 68), (132, 110, 86)), ((92, 76, 62), (118, 100, 82))), 0.42, 0.10),
    'dirt-pad': ('soil', (((128, 118, 104), (148, 138, 122)),), 0.40, 0.06),
}

# Mean brightness in the second sensor, 0 to 255: cover or material -> (infrared, radar).
_SECOND: dict[str, tuple[float, float]] = {
    'asphalt': (118, 34),
    'road': (124, 30),
    'concrete': (110, 58),
    'grass': (86, 84),
    'mown': (82, 72),
    'soil': (116, 76),
    'gravel': (118, 92),
    'sand': (122, 66),
    'water': (62, 16),
    'crop': (84, 96),
    'plough': (112, 104),
    'dirt-pad': (116, 80),
    'forest': (70, 116),
    'tree': (70, 116),
    'vehicle': (172, 196),
    'hood': (210, 206),
    'glass': (126, 120),
    'metal': (150, 214),
    'hot': (232, 220),
    'ship': (156, 206),
    'deck': (146, 176),
    'tank': (150, 204),
    'court': (128, 46),
    'line': (138, 56),
    'roof': (136, 136),
    'wall': (128, 232),
    'wood': (120, 110),
    'plastic': (126, 90),
}


class Appearance:
    """Colours of one sensor in one scene.

    Args:
        sensor: 'colour', 'infrared' or 'sar'.
        rng: Source of the scene's palette; variants are drawn once per kind of cover.
    """

    def __init__(self, sensor: str, rng: np.random.Generator) -> None:
        self.sensor = sensor
        self._rng = rng
        self._palette = {name: int(rng.integers(len(entry[1]))) for name, entry in sorted(_COVERS.items())}
        self.season = float(rng.uniform(0.0, 1.0))
        thermal = sensor == 'infrared'
        self.shadow = {'colour': (0.67, 0.63, 0.56), 'infrared': (0.16,) * 3, 'sar': (0.5,) * 3}[sensor]
        self.paint: dict[str, Colour] = (
            {'white': (212, 212, 206), 'yellow': (192, 158, 70)}
            if sensor == 'colour'
            else {'white': (132,) * 3, 'yellow': (130,) * 3}
            if thermal
            else {'white': (40,) * 3, 'yellow': (40,) * 3}
        )

    def cover(self, kind: str, shade: float = 1.0) -> tuple[str, np.ndarray, np.ndarray, float]:
        """Tile name, base colour (3,), colour change (3,) per unit of mixture, and strength of detail."""
        tile, palettes, mixture, detail = _COVERS[kind]
        if self.sensor != 'colour':
            level = _SECOND[kind][self.sensor == 'sar']
            return tile, np.full(3, level, np.float32), np.full(3, level * 0.07, np.float32), detail * 0.8
        first, second = (np.array(colour, np.float32) * shade for colour in palettes[self._palette[kind]])
        return tile, (first + second) / 2, (second - first) * mixture, detail

    def colour(self, rgb: Colour, material: str) -> Colour:
        """What a part of this colour and material looks like."""
        if self.sensor == 'colour':
            return rgb
        level = _SECOND[material][self.sensor == 'sar']
        # Dark paint takes up more sunlight; radar only cares about material and small corners.
        lightness = (rgb[0] + rgb[1] + rgb[2]) / 765.0
        level += (0.5 - lightness) * 44 if self.sensor == 'infrared' else (lightness - 0.5) * 30
        value = int(min(255, max(0, level)))
        return value, value, value

    def foliage(self) -> np.ndarray:
        """(2, 3) darkest and lightest leaf colour."""
        if self.sensor != 'colour':
            level = _SECOND['tree'][self.sensor == 'sar']
            return np.array([[level * 0.8] * 3, [level * 1.2] * 3], np.float32)
        summer = np.array([[25, 32, 22], [86, 98, 60]], np.float32)
        autumn = np.array([[36, 35, 25], [112, 104, 66]], np.float32)
        return summer + (autumn - summer) * max(0.0, self.season - 0.6) * 1.6
