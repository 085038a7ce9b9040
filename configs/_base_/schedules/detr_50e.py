# As detr_12e.py, 50 epochs with the step of Deformable DETR, https://arxiv.org/abs/2010.04159.
_base_ = './detr_12e.py'
max_epochs = 50

train_cfg = dict(max_epochs=max_epochs, val_interval=10)
param_scheduler = [dict(type='MultiStepLR', begin=0, end=max_epochs, by_epoch=True, milestones=[40], gamma=0.1)]
