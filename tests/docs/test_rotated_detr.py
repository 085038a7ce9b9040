"""The snippets of docs/rotated_detr.md run, one after the other."""


def test_snippets_run(run_snippets) -> None:
    assert run_snippets('rotated_detr.md') == 4
