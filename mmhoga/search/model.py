"""The search model: any mmengine model whose plugins are supernets, and the alpha that they share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmhoga.genotype import Genotype
from mmhoga.models.supernet import SearchableHOGA, derive_genotype
from mmhoga.registry import MODELS
from mmhoga.search.costs.expected import ExpectedCost, cell_shapes

SHARING = ('model', 'stage')


@MODELS.register_module()
class SearchModel(BaseModel):
    """Wraps a classifier, a detector, a pose estimator, ... built with ``mmhoga.SearchableHOGA`` plugins.

    All its cells hold one and the same ``alpha`` (section 4.2), or all those of one stage do. Outside
    :meth:`differentiating_alpha` it asks for no gradient: a step on the weights neither computes nor, under
    DistributedDataParallel, communicates one.

    Args:
        architecture: the model, as a config or built.
        alpha_per: ``'model'``: one alpha, the parameter ``alpha``; or ``'stage'``: one a stage of the backbone, the
            parameters ``stage_alpha.<stage>``.
        stage_pattern: for ``'stage'``, what in a cell's name is its stage; by default ``layer1``, ``layer2``, ..., as
            the ResNets of all hosts call theirs.
        cost: ``dict(metric='macs', weight=0.1, input_shape=(3, 224, 224))`` adds the expected cost of the derived
            cells to alpha's loss (:class:`mmhoga.search.costs.expected.ExpectedCost`).
        val_loss: also compute the loss on validation data, which then needs ground truth: a second forward pass.
        data_preprocessor: for an ``architecture`` given as a config that has none of its own; mmengine's Runner passes
            the config's top-level one here.
        init_cfg: mmengine's.

    Raises:
        ValueError: the model has no SearchableHOGA, or cells that differ in K or in their primitives, or one in no
            stage; and what :class:`ExpectedCost` raises.
    """

    def __init__(
        self,
        architecture: dict | BaseModel,
        *,
        alpha_per: str = 'model',
        stage_pattern: str = r'layer\d+',
        cost: Mapping[str, Any] | None = None,
        val_loss: bool = False,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        if alpha_per not in SHARING:
            raise ValueError(f'alpha_per must be one of {SHARING}, not {alpha_per!r}.')
        if isinstance(architecture, BaseModel):
            built = architecture
        else:
            if data_preprocessor is not None:
                architecture = {'data_preprocessor': data_preprocessor, **architecture}
            built = MODELS.build(architecture)
        super().__init__(built.data_preprocessor, init_cfg)
        self.architecture: BaseModel = built
        self.val_loss = val_loss
        cells = self.named_cells()
        _check_alike(list(cells.values()))
        if alpha_per == 'model':
            self._groups = {'': list(cells)}
            self.alpha = next(iter(cells.values())).alpha
        else:
            self._groups = _by_stage(list(cells), stage_pattern)
            self.stage_alpha = nn.ParameterDict({stage: cells[names[0]].alpha for stage, names in self._groups.items()})
        for stage, alpha in self.named_alphas().items():
            alpha.requires_grad_(False)
            for name in self._groups[stage]:
                cells[name].alpha = alpha
        self.cost = self._build_cost(**cost) if cost is not None else None

    def _build_cost(self, *, input_shape: tuple[int, int, int], **kwargs: Any) -> ExpectedCost:
        cells = self.named_cells()
        return ExpectedCost(cells, cell_shapes(self.architecture, cells, input_shape), self._groups, **kwargs)

    @property
    def alphas(self) -> tuple[nn.Parameter, ...]:
        """Every architecture parameter, each once: what the step on alpha differentiates by."""
        return tuple(self.named_alphas().values())

    @property
    def num_groups(self) -> int:
        return self.cells()[0].num_groups

    @property
    def primitives(self) -> tuple[str, ...]:
        """The names of alpha's columns."""
        return self.cells()[0].primitives

    def named_alphas(self) -> dict[str, nn.Parameter]:
        """:attr:`alphas` by stage; where there is but one, its name is empty."""
        return {'': self.alpha} if list(self._groups) == [''] else dict(self.stage_alpha.items())

    def cells(self) -> list[SearchableHOGA]:
        """The supernets, in the order of the model's modules."""
        return list(self.named_cells().values())

    def named_cells(self, stage: str | None = None) -> dict[str, SearchableHOGA]:
        """:meth:`cells` by their names in the architecture; those of one stage of :meth:`named_alphas`."""
        cells = {n: module for n, module in self.architecture.named_modules() if isinstance(module, SearchableHOGA)}
        return cells if stage is None else {name: cells[name] for name in self._groups[stage]}

    def genotype(self, meta: dict | None = None, stage: str = '') -> Genotype:
        """What alpha, or the alpha of a stage, says now (Eqs. 14, 16), with a record of its origin."""
        return derive_genotype(self.named_alphas()[stage], self.primitives, meta)

    def compile_cells(self, **options: Any) -> None:
        """Each cell's :meth:`mmhoga.models.SearchableHOGA.compile`."""
        for cell in self.cells():
            cell.compile(**options)

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
        """What alpha descends on: the loss of a batch of trainB, and the expected cost if that is asked for."""
        loss, outputs = self.loss(data)
        if self.cost is not None:
            cost = self.cost(self.named_alphas())
            outputs['cost'] = cost.detach()
            loss = loss + cost
        return loss, outputs

    def parse_losses(self, losses: dict) -> tuple[Tensor, dict[str, Tensor]]:
        return self.architecture.parse_losses(losses)

    def val_step(self, data: Any) -> list:
        """The architecture's predictions; with ``val_loss`` also the loss, in the way that mmengine knows."""
        if not self.val_loss:
            return self.architecture.val_step(data)
        # A detector samples its proposals at random: without a trace in what follows.
        with torch.random.fork_rng(devices=[]):
            batch = self.data_preprocessor(data, False)
            total, _ = self.parse_losses(self._run_forward(batch, mode='loss'))
        return [*self.architecture.val_step(data), BaseDataElement(loss={'loss': total})]

    def test_step(self, data: Any) -> list:
        return self.architecture.test_step(data)


def unwrapped(model: nn.Module) -> Any:
    """The model itself, without DistributedDataParallel or another wrapper."""
    return model.module if is_model_wrapper(model) else model


def _by_stage(names: list[str], pattern: str) -> dict[str, list[str]]:
    stages: dict[str, list[str]] = {}
    for name in names:
        match = re.search(pattern, name)
        if match is None:
            raise ValueError(
                f'alpha_per="stage": the cell {name!r} is in no stage, since nothing in its name matches stage_pattern '
                f'= {pattern!r}. Set stage_pattern to what tells the stages of this backbone apart.'
            )
        stages.setdefault(match[0].replace('.', '_'), []).append(name)
    return stages


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
