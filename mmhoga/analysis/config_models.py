"""The model that a config describes, as its host's Runner would build it."""

from __future__ import annotations

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn


def config_scope(cfg: Config) -> str:
    """The registry scope in which a config's types are looked up."""
    return cfg.get('default_scope') or 'mmengine'


def build_model(cfg: Config) -> nn.Module:
    """Build ``cfg.model``, in training mode and with random weights; the default scope is as before afterwards."""
    if cfg.get('data_preprocessor'):
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    with DefaultScope.overwrite_default_scope(config_scope(cfg)):
        return MODELS.build(cfg.model)
