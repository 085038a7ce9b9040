"""The snippets of docs/align_necks.md run, one after the other."""

from mmdet.registry import MODELS

import stn_det.register  # noqa: F401  before the registry is replaced for a while, or what it registers is lost


def test_snippets_run(run_snippets, monkeypatch) -> None:
    monkeypatch.setattr(MODELS, '_module_dict', dict(MODELS.module_dict))  # the page registers a class of its own
    assert run_snippets('align_necks.md') == 4
