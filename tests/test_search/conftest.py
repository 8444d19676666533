import pytest
import torch
import toy_search
from mmengine.registry import MODELS


@pytest.fixture(autouse=True)
def toy_registered():
    toy_search.register()
    yield
    toy_search.unregister()


@pytest.fixture
def toy():
    torch.manual_seed(0)
    return toy_search.ToyClassifier


@pytest.fixture
def search_config(tmp_path):
    return toy_search.search_config(tmp_path / 'search')


@pytest.fixture
def toy_resnet():
    MODELS.register_module(module=toy_search.ToyResNet, force=True)
    yield
    MODELS.module_dict.pop('ToyResNet')
