"""The transcripts and configs in docs/search_space.md are what the commands print, and what builds."""

import re
import shlex

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope

from mmhoga.cli.main import main


@pytest.fixture
def page(root):
    return (root / 'docs' / 'search_space.md').read_text(encoding='utf-8')


@pytest.mark.parametrize('command', ['compare', 'count'])
def test_transcripts(page, capsys, command):
    line, expected = re.search(rf'^    \$ mmhoga (genotype {command} .*)\n((?:    [^$].*\n)+)', page, re.M).groups()
    assert main(shlex.split(line)) == 0
    assert capsys.readouterr().out == re.sub('^    ', '', expected, flags=re.M)


def test_a_search_with_a_model_of_your_own(page, tmp_path):
    pytest.importorskip('mmdet')
    for name, content in re.findall(r'```python\n# (my_\w+\.py)\n(.*?)```', page, re.S):
        (tmp_path / name).write_text(content)
    cfg = Config.fromfile(tmp_path / 'my_search.py')
    init_default_scope(cfg.default_scope)
    cfg.model.architecture.backbone.init_cfg = None  # no download
    model = MODELS.build(cfg.model)
    assert len(model.cells()) == 16
    assert set(build_optim_wrapper(model, cfg.optim_wrapper).keys()) == {'weights', 'alpha'}
    assert cfg.optim_wrapper.weights.optimizer.lr == 0.02 and len(cfg.param_scheduler.weights) == 2


def test_the_config_in_searching_is_the_shipped_one(root):
    text = (root / 'configs/search/hoga-search_resnet8_1xb64-8e_digits.py').read_text(encoding='utf-8')
    assert text.rpartition('"""\n\n')[2] in (root / 'docs/searching.md').read_text(encoding='utf-8')
