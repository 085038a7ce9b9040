"""Losses of parts are found wherever they are, and named by their path."""

import torch
from torch import nn

from stn_det.models.auxiliary import auxiliary_losses


class Part(nn.Module):
    """A part with a loss that counts the samples."""

    def auxiliary_loss(self, batch_data_samples: list) -> dict[str, torch.Tensor]:
        """Number of samples."""
        return dict(loss_count=torch.tensor(float(len(batch_data_samples))))


def test_terms_are_named_by_the_path_of_their_part() -> None:
    shared = Part()
    model = nn.ModuleDict(dict(neck=nn.Sequential(nn.Identity(), shared), head=Part(), again=shared))
    assert auxiliary_losses(model, [1, 2]) == {'neck.1.loss_count': 2, 'head.loss_count': 2}
    assert auxiliary_losses(Part(), [1]) == {'loss_count': 1}
    assert auxiliary_losses(nn.Linear(1, 1), [1]) == {}
