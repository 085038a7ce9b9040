"""Union over layers: by hand, and against counting pair by pair."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from stn_det.errors import InputError
from stn_det.models.task_modules import Match, union_matches


def match_of(pairs: dict[int, int]) -> Match:
    """Query to object."""
    queries = torch.tensor(sorted(pairs), dtype=torch.long)
    return Match(queries, torch.tensor([pairs[query] for query in sorted(pairs)], dtype=torch.long))


def pairs_of(match: Match) -> dict[int, int]:
    return dict(zip(match.queries.tolist(), match.objects.tolist()))


def test_most_frequent_then_latest() -> None:
    layers = [{0: 0, 3: 1, 5: 2}, {0: 0, 4: 1, 5: 1}, {0: 2, 4: 1, 5: 0}]
    # query 0: object 0 twice; 5: three objects once each, the latest; 3 and 4 share object 1
    (found,) = union_matches([[match_of(layer)] for layer in layers], num_queries=6)
    assert found.queries.tolist() == [0, 3, 4, 5]
    assert found.objects.tolist() == [0, 1, 1, 0]
    (found,) = union_matches([[match_of(layer)] for layer in reversed(layers)], num_queries=6)
    assert found.objects.tolist() == [0, 1, 1, 2]


def test_frequent_beats_later_and_objects_may_outnumber_queries() -> None:
    layers = [{0: 9}, {0: 9}, {0: 3}]
    (found,) = union_matches([[match_of(layer)] for layer in layers], num_queries=1)
    assert pairs_of(found) == {0: 9}


def test_equals_counting() -> None:
    layers = [
        [match_of(dict(zip(torch.randperm(8)[:4].tolist(), torch.randperm(4).tolist()))) for _ in range(5)]
        for _ in range(6)
    ]
    found = union_matches(layers, num_queries=8)
    for image in range(5):
        given = [pairs_of(layer[image]) for layer in layers]
        for query in range(8):
            times = Counter(pairs[query] for pairs in given if query in pairs)
            latest = {thing: max(n for n, pairs in enumerate(given) if pairs.get(query) == thing) for thing in times}
            best = max(times, key=lambda thing: (times[thing], latest[thing]), default=None)
            assert pairs_of(found[image]).get(query) == best


def test_agreeing_layers_change_nothing() -> None:
    match = match_of({1: 2, 4: 0, 7: 1})
    (found,) = union_matches([[match]] * 6, num_queries=8)
    assert torch.equal(found.queries, match.queries)
    assert torch.equal(found.objects, match.objects)


def test_one_copy_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []
    copy = Tensor.cpu
    monkeypatch.setattr(Tensor, 'cpu', lambda self: copies.append(self.numel()) or copy(self))
    union_matches([[match_of({0: 1}), match_of({1: 0, 2: 1})], [match_of({0: 0}), match_of({})]], num_queries=3)
    assert copies == [8]


def test_images_without_objects_stand_between_others() -> None:
    layer = [match_of({}), match_of({2: 0}), match_of({})]
    found = union_matches([layer, layer], num_queries=3)
    assert [pairs_of(match) for match in found] == [{}, {2: 0}, {}]
    assert found[0].queries.dtype == torch.int64
    assert pairs_of(union_matches([[match_of({})]], num_queries=3)[0]) == {}
    assert union_matches([], num_queries=3) == []


def test_bad_inputs_are_refused() -> None:
    with pytest.raises(InputError, match=r'matches_by_layer holds \[1, 2\] images in its layers, expected as many'):
        union_matches([[match_of({})], [match_of({})] * 2], num_queries=3)
    with pytest.raises(InputError, match='a match names query 7, expected one below num_queries, 7'):
        union_matches([[match_of({7: 0})]], num_queries=7)
