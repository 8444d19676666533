"""The study of genotypes: the tables of its page are those of the raw numbers, and the statistics are right."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

stats = pytest.importorskip('scipy.stats')
pytest.importorskip('matplotlib')

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope='module')
def page():
    spec = importlib.util.spec_from_file_location('genotype_study_page', ROOT / 'benchmarks' / 'genotype_study_page.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def sections(page):
    return page.read(ROOT / 'benchmarks' / 'genotype_study.jsonl')


def test_the_page_shows_the_raw_numbers(page, sections):
    text = (ROOT / 'docs' / 'genotype_study.md').read_text()
    random = sections['random']
    for table in (
        page.variance_table(random),
        page.ways_table(random, sections['searched']),
        page.correlation_table(random, sections['scores']),
        page.baselines_table(sections['baselines'], random),
    ):
        assert table in text


def test_every_run_is_there_once(sections):
    assert len(sections['random']) == 80
    keys = [
        tuple((key, row[key]) for key in ('section', 'way', 'search', 'genotype', 'attention', 'seed') if key in row)
        for rows in sections.values()
        for row in rows
    ]
    assert len(set(keys)) == len(keys)


def test_spread_between_genotypes(page):
    """In balanced data with known components the estimate is close to them, and without a difference it is 0."""
    generator = np.random.RandomState(0)
    for between in (0.0, 2.0):
        genotypes = generator.normal(80, between, 4000)
        rows = [
            {'genotype': number, page.METRIC: value + generator.normal(0, 1)}
            for number, value in enumerate(genotypes)
            for _ in range(2)
        ]
        cells = [cell.strip() for cell in page.variance_table(rows).splitlines()[-1].strip('|').split('|')]
        estimate, low, high = (float(word.strip('(),')) for word in cells[3].replace(' to ', ' ').split())
        assert low <= between <= high and abs(estimate - between) < 0.15
        assert float(cells[4]) == pytest.approx(1, abs=0.05)


def test_rank_correlation(page):
    generator = np.random.RandomState(0)
    x, y = generator.rand(2, 30)
    assert page.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
