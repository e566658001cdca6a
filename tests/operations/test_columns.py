"""Tables, times and sizes read as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trm.operations.columns import columns, duration, size


@given(st.lists(st.tuples(st.text("ab", max_size=9), st.text("cd", min_size=1, max_size=9)), min_size=1))
def test_columns_begin_at_one_place(rows):
    lines = columns(rows).split("\n")
    start = max(len(first) for first, _ in rows) + 2
    assert [line[start:] for line in lines] == [second for _, second in rows]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0m00s"), (59.6, "1m00s"), (432, "7m12s"), (3600, "1h00m"), (86399.7, "1d00h"), (183600, "2d03h")],
)
def test_durations_have_their_two_largest_units(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3.44e9, "3.4 GB"), (2.5e12, "2,500.0 GB")]
)
def test_sizes_are_in_powers_of_1000(count, words):
    assert size(count) == words
