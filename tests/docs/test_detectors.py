"""The snippets of docs/detectors.md run, one after the other."""


def test_snippets_run(run_snippets) -> None:
    assert run_snippets('detectors.md') == 4
