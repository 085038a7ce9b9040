# Rotated DINO of the same size as the Rotated Deformable DETR it is based on: small enough for a CPU.
_base_ = './rotated_deformable_detr_mobilenetv2.py'

model = dict(
    type='RotatedDINO',
    bbox_head=dict(type='RotatedDINOHead'),
    dn_cfg=dict(num_dn_queries=100, label_noise_scale=0.5, box_noise_scale=1.0),  # of DINO; no noise of the angle
)
