# As rotated-deformable-detr-le90_r50_50e_dota.py, the plain form: learned points, no refinement from layer to layer.
# Others publish 68.65 AP50 (https://github.com/wokaikaixinxin/ai4rs) and 68.50 (https://github.com/SIAnalytics/RHINO),
# with other costs and losses. Not trained by us: no figure is claimed.
_base_ = './rotated-deformable-detr-le90_r50_50e_dota.py'

model = dict(with_box_refine=False, as_two_stage=False)
optim_wrapper = dict(paramwise_cfg=dict(bypass_duplicate=True))  # all layers share their branches
