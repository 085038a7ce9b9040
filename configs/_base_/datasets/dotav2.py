# DOTA 2.0 (18 classes): as DOTA 1.0, with its own reader and folder.
_base_ = ['./dotav1.py']
own = dict(type='DOTAv2Dataset', data_root='data/dotav2/')

train_dataloader = dict(dataset=own)
val_dataloader = dict(dataset=own)
test_dataloader = dict(dataset=own)
