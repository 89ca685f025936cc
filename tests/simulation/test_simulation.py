"""Many histories of a drive in a world that fails and stops (see tests/simulation/machine.py)."""

import logging
from collections import Counter

import pytest

from tests.simulation.faults import BOUNDARIES
from tests.simulation.machine import CRASHES_MIN, OPERATIONS_MIN, run

SEEDS_A_TEST = 150
FAST = 2
ALL = 68
"""Tests in all: more than 10,000 seeds."""


def check(first: int) -> None:
    """Every history keeps what it promised, and all places where a crash can be had some."""
    logging.disable(logging.ERROR)  # a world that fails is told of at length
    crashes: Counter[str] = Counter()
    unpublished = 0
    try:
        for seed in range(first, first + SEEDS_A_TEST):
            outcome = run(seed)
            assert outcome.operations >= OPERATIONS_MIN
            assert outcome.crashes.total() >= CRASHES_MIN
            crashes += outcome.crashes
            unpublished += outcome.unpublished
    finally:
        logging.disable(logging.NOTSET)
    assert not [name for name in BOUNDARIES if not crashes[name]], crashes
    assert unpublished > crashes.total() / 2


@pytest.mark.parametrize("turn", range(FAST))
def test_nothing_is_lost_or_mixed(turn: int) -> None:
    check(turn * SEEDS_A_TEST)


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(FAST, ALL))
def test_nothing_is_lost_or_mixed_in_ten_thousand_histories(turn: int) -> None:
    check(turn * SEEDS_A_TEST)
