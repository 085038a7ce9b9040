# Overfits a handful of DOTA images: a check that reader, geometry, head and metric agree, not a result.
_base_ = [
    '../_base_/models/oriented_point_mobilenetv2_fpn.py',
    '../_base_/datasets/dotav1.py',
    '../_base_/schedules/adamw_12e.py',
    '../_base_/runtime/default.py',
]
