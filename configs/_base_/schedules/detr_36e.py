# As detr_12e.py, 36 epochs with the steps that RHINO takes on DOTA, https://arxiv.org/abs/2305.07598.
_base_ = './detr_12e.py'
max_epochs = 36

train_cfg = dict(max_epochs=max_epochs, val_interval=6)
param_scheduler = [dict(type='MultiStepLR', begin=0, end=max_epochs, by_epoch=True, milestones=[27, 33], gamma=0.1)]
