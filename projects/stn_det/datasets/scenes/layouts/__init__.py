"""Layouts: each fills a world with one kind of place."""

from stn_det.datasets.scenes.layouts.airfield import airfield
from stn_det.datasets.scenes.layouts.countryside import residential, rural
from stn_det.datasets.scenes.layouts.industry import industrial, tank_farm
from stn_det.datasets.scenes.layouts.parking import parking
from stn_det.datasets.scenes.layouts.sports import sports
from stn_det.datasets.scenes.layouts.waterside import harbour, sea

LAYOUTS = {
    'airfield': airfield,
    'harbour': harbour,
    'industrial': industrial,
    'parking': parking,
    'residential': residential,
    'rural': rural,
    'sea': sea,
    'sports': sports,
    'tank-farm': tank_farm,
}
"""Layout functions by the names in ``config.KINDS``; each takes the world and fills it."""
