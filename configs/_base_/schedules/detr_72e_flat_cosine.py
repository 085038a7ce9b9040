# As detr_12e.py, 72 epochs for 16 images a step: a short warm-up, half of the epochs at the full rate, then cosine to
# 5 % of it; used with averaged weights (EMAHook). Epochs, batch and shape as in RiO-DETR,
# https://arxiv.org/abs/2603.09411.
_base_ = './detr_12e.py'
max_epochs = 72

train_cfg = dict(max_epochs=max_epochs, val_interval=12)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=2000),
    dict(
        type='CosineAnnealingLR',
        eta_min=5e-6,
        begin=max_epochs // 2,
        end=max_epochs,
        T_max=max_epochs // 2,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
