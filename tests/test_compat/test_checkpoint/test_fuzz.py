"""Random pickles call nothing. MMHOGA_FUZZ=100000 sets the number; ``tests/pickle_fuzz.py`` prints the counts."""

import os

from pickle_fuzz import fuzz, pickles, runs_in_an_ordinary_unpickler

NUMBER = int(os.environ.get('MMHOGA_FUZZ', '3000'))


def test_random_pickles():
    outcomes = fuzz(NUMBER, seed=0)
    assert sum(outcomes.values()) == NUMBER
    assert all(outcomes[kind] > NUMBER // 100 for kind in ('read', 'refused', 'damaged'))


def test_many_of_them_are_harmful_to_an_ordinary_unpickler():
    assert sum(map(runs_in_an_ordinary_unpickler, pickles(1000, seed=0))) > 20
