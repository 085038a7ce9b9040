"""The benchmark of matching compares runs that agree."""

import matching
import pytest
import torch


def test_cases_of_small_sizes_run() -> None:
    first = matching.matching_case(2, 2, 12, 4, 'cpu')
    assert list(first.runs) == ['batch', 'mmdet one by one']
    second = matching.denoising_case(2, 12, 4, 3, 'cpu')
    assert list(second.runs) == ['by group', 'block-diagonal']
    for case in (first, second):
        for run in case.runs.values():
            run()


def test_runs_that_disagree_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = torch.zeros(2, 3, 4, dtype=torch.bool)
    monkeypatch.setattr(matching, 'adaptive_denoising', lambda *given: nothing)
    with pytest.raises(RuntimeError, match='groups alone and all at once choose different pairs'):
        matching.denoising_case(2, 12, 4, 3, 'cpu')
