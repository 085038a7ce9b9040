# DOTA 1.5 (16 classes): as DOTA 1.0, with its own reader and folder.
_base_ = ['./dotav1.py']
own = dict(type='DOTAv15Dataset', data_root='data/dotav15/')

train_dataloader = dict(dataset=own)
val_dataloader = dict(dataset=own)
test_dataloader = dict(dataset=own)
