"""The search model: any mmengine model whose plugins are supernets, and the one alpha that they share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.model import BaseModel, is_model_wrapper
from torch import Tensor, nn

from mmhoga.genotype import Genotype
from mmhoga.models.supernet import SearchableHOGA, derive_genotype
from mmhoga.registry import MODELS


@MODELS.register_module()
class SearchModel(BaseModel):
    """Wraps a classifier, a detector, a pose estimator, ... built with ``mmhoga.SearchableHOGA`` plugins.

    All its cells hold one and the same ``alpha`` (section 4.2). Outside :meth:`differentiating_alpha` it asks for no
    gradient: a step on the weights neither computes nor, under DistributedDataParallel, communicates one.

    Args:
        architecture: the model, as a config or built.
        data_preprocessor: for an ``architecture`` given as a config that has none of its own; mmengine's Runner passes
            the config's top-level one here.
        init_cfg: mmengine's.

    Raises:
        ValueError: the model has no SearchableHOGA, or cells that differ in K or in their primitives.
    """

    def __init__(
        self,
        architecture: dict | BaseModel,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        if isinstance(architecture, BaseModel):
            built = architecture
        else:
            if data_preprocessor is not None:
                architecture = {'data_preprocessor': data_preprocessor, **architecture}
            built = MODELS.build(architecture)
        super().__init__(built.data_preprocessor, init_cfg)
        self.architecture: BaseModel = built
        cells = self.cells()
        _check_alike(cells)
        self.alpha = cells[0].alpha
        for cell in cells:
            cell.alpha = self.alpha
        self.alpha.requires_grad_(False)

    @property
    def alphas(self) -> tuple[nn.Parameter, ...]:
        """Every architecture parameter, each once: what the step on alpha differentiates by."""
        return (self.alpha,)

    @property
    def num_groups(self) -> int:
        return self.cells()[0].num_groups

    @property
    def primitives(self) -> tuple[str, ...]:
        """The names of alpha's columns."""
        return self.cells()[0].primitives

    def cells(self) -> list[SearchableHOGA]:
        """The supernets, in the order of the model's modules."""
        return [module for module in self.architecture.modules() if isinstance(module, SearchableHOGA)]

    def genotype(self, meta: dict | None = None) -> Genotype:
        """What alpha says now (Eqs. 14, 16), with a record of its origin."""
        return derive_genotype(self.alpha, self.primitives, meta)

    @contextmanager
    def differentiating_alpha(self) -> Iterator[tuple[nn.Parameter, ...]]:
        """Inside, losses depend on alpha differentiably; yields :attr:`alphas`."""
        alphas = self.alphas
        for alpha in alphas:
            alpha.requires_grad_(True)
        try:
            yield alphas
        finally:
            for alpha in alphas:
                alpha.requires_grad_(False)

    @contextmanager
    def frozen_weights(self) -> Iterator[None]:
        """Inside, losses depend on alpha alone: nothing is stored for weight gradients, nor are they computed."""
        architecture = {id(alpha) for alpha in self.alphas}
        weights = [p for p in self.parameters() if p.requires_grad and id(p) not in architecture]
        for weight in weights:
            weight.requires_grad_(False)
        try:
            yield
        finally:
            for weight in weights:
                weight.requires_grad_(True)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The architecture's own forward, in whichever mode."""
        return self.architecture(*args, **kwargs)

    def loss(self, data: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The total loss of a batch as a data loader gives it, and what to log of it."""
        batch = self.data_preprocessor(data, True)
        return self.parse_losses(self._run_forward(batch, mode='loss'))

    def alpha_loss(self, data: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """What alpha descends on: the loss of a batch of trainB."""
        return self.loss(data)

    def parse_losses(self, losses: dict) -> tuple[Tensor, dict[str, Tensor]]:
        return self.architecture.parse_losses(losses)

    def val_step(self, data: Any) -> list:
        return self.architecture.val_step(data)

    def test_step(self, data: Any) -> list:
        return self.architecture.test_step(data)


def unwrapped(model: nn.Module) -> Any:
    """The model itself, without DistributedDataParallel or another wrapper."""
    return model.module if is_model_wrapper(model) else model


def _check_alike(cells: list[SearchableHOGA]) -> None:
    if not cells:
        raise ValueError(
            "The architecture has nothing to search: no module of type 'mmhoga.SearchableHOGA'. Give its backbone "
            "plugins=[dict(cfg=dict(type='mmhoga.SearchableHOGA'), position='after_conv2')], with a backbone whose "
            "blocks take plugins (type='mmhoga.ResNet', 'mmhoga.CIFARResNet' or mmdet's ResNet)."
        )
    spaces = {(cell.num_groups, cell.primitives) for cell in cells}
    if len(spaces) > 1:
        raise ValueError(
            'All cells share one alpha, so they need the same K and primitives; found '
            + '; '.join(f'K = {groups} with {", ".join(names)}' for groups, names in sorted(spaces))
            + '.'
        )
