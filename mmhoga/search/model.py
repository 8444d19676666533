"""The search model: an mmengine model with supernets, and the alpha that they share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.optim import OptimWrapperDict
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmhoga.genotype import Genotype
from mmhoga.models.cell_choice import CellChoice
from mmhoga.models.mixing import Mixing
from mmhoga.models.supernet import SearchableHOGA, derive_genotype, share_alpha
from mmhoga.registry import MODELS
from mmhoga.search.costs import ExpectedCost, cell_shapes
from mmhoga.search.placement import Placement, blocks_of, cell_probabilities, cells_of_blocks, named_choices
from mmhoga.search.sharing import by_num_groups, by_stage
from mmhoga.search.supernets import with_supernets

ANOTHER_LOOP = (
    'A SearchModel has two optimizers, which mmhoga.SearchLoop uses in turn, but train_cfg has {}. Set train_cfg=dict('
    "type='mmhoga.SearchLoop', max_epochs=..., split=dict(fraction=0.5, seed=0)). A search counts epochs."
)


@MODELS.register_module()
class SearchModel(BaseModel):
    """Wraps any model (classifier, detector, pose estimator) with HOGA cells or supernets, as plugins or inserted.

    The config of a training can be given as it is: if it has ``mmhoga.HOGA`` cells and no ``mmhoga.SearchableHOGA``,
    the cells become supernets (:func:`mmhoga.search.supernets.with_supernets`). A checkpoint of the model without this
    wrapper loads, for ``load_from``.

    All cells of the model, or all cells of a stage, share one ``alpha`` (section 4.2). Alpha requires a gradient only
    inside :meth:`differentiating_alpha`, so a step on the weights neither computes that gradient nor communicates it
    under DistributedDataParallel.

    Args:
        architecture: the model to wrap, as a config or built.
        num_groups: K of the supernets, by default that of the genotypes or of the supernets in the config.
        primitives: their candidates, by default all, or those of the supernets in the config.
        alpha_per: ``'model'`` for one alpha, the parameter ``alpha``; ``'stage'`` for one per stage of the backbone,
            the parameters ``stage_alpha.<stage>``.
        stage_pattern: for ``'stage'``, a regular expression that finds the stage in the name of a cell. The default
            finds ``layer1`` (the ResNets of all hosts), ``stage1`` (CSPNeXt, HRNet), ``stages.0`` (ConvNeXt, Swin) and
            ``layers.0``.
        cost: ``dict(metric='macs', weight=0.1, input_shape=(3, 224, 224))`` adds the expected cost of the derived
            cells to alpha's loss (:class:`mmhoga.search.costs.ExpectedCost`).
        placement: ``dict(num_groups=(2, 4), keep=None)``, or ``dict()`` for the K of the supernets, also searches which
            blocks get an attention, and of which K (:mod:`mmhoga.search.placement`). Then there is one alpha per K, and
            per stage for ``alpha_per='stage'``: with several K the parameters are ``stage_alpha.k2``, or
            ``stage_alpha.layer1_k2``.
        val_loss: also compute the loss on the validation data, in a second forward pass; they need ground truth.
        data_preprocessor: used if ``architecture`` is a config without one; mmengine's Runner passes the top-level
            one of the config.

    Raises:
        ValueError: the model has no HOGA cell, its cells differ in K or primitives, or a cell is in no stage; K is
            unknown, since the genotype of a cell cannot be read; ``num_groups`` or ``primitives`` for a built model.
            Also the errors of :class:`ExpectedCost` and :class:`Placement`.
    """

    def __init__(
        self,
        architecture: dict | BaseModel,
        *,
        num_groups: int | None = None,
        primitives: Sequence[str] | None = None,
        alpha_per: str = 'model',
        stage_pattern: str = r'(?:layer|stage)s?\.?\d+',
        cost: Mapping[str, Any] | None = None,
        placement: Mapping[str, Any] | None = None,
        val_loss: bool = False,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        if alpha_per not in ('model', 'stage'):
            raise ValueError(f"alpha_per must be one of 'model' and 'stage', not {alpha_per!r}.")
        if isinstance(architecture, BaseModel):
            if num_groups is not None or primitives is not None:
                raise ValueError('num_groups and primitives are for an architecture that is a config, not a model.')
        else:
            architecture = with_supernets(architecture, num_groups=num_groups, primitives=primitives)
            if data_preprocessor is not None:
                architecture = {'data_preprocessor': data_preprocessor, **architecture}
            architecture = MODELS.build(architecture)
        super().__init__(architecture.data_preprocessor, init_cfg)
        self.architecture: BaseModel = architecture
        self.val_loss = val_loss
        self._register_load_state_dict_pre_hook(_accept_plain_weights)
        self.placement = None if placement is None else Placement(**placement)
        self._choices: dict[str, CellChoice] = {}
        if self.placement is not None:
            self.placement.add_choices(self.architecture)
            self._choices = named_choices(self.architecture)
        cells = self.named_cells()
        if not cells:
            raise ValueError(
                "The architecture has nothing to search: it has no cell of type 'mmhoga.HOGA' or "
                "'mmhoga.SearchableHOGA'. Add plugins=[dict(cfg=dict(type='mmhoga.HOGA'), position='after_conv2')] to "
                "a backbone that takes plugins (type='mmhoga.ResNet', 'mmhoga.CIFARResNet' or mmdet's ResNet), or "
                "insert it into another: type='mmhoga.Insert', into='CSPNeXt', cell=dict(type='mmhoga.HOGA'), "
                "after=r'stage\\d'."
            )
        self._groups = {'': list(cells)} if alpha_per == 'model' else by_stage(list(cells), stage_pattern)
        if self.placement is not None:
            self._groups = by_num_groups(self._groups, cells)
        alphas = {stage: cells[names[0]].alpha for stage, names in self._groups.items()}
        if self.placement is None:
            share_alpha(self.architecture)  # raises if the cells differ in K or primitives, also between stages
        if list(alphas) == ['']:
            self.alpha = alphas['']
        else:
            self.stage_alpha = nn.ParameterDict(alphas)
        self.mixings: list[Mixing] = []
        for stage, alpha in alphas.items():
            self.mixings.append(Mixing().to(alpha.device))
            for name in self._groups[stage]:
                cells[name].alpha, cells[name].mixing = alpha, self.mixings[-1]
        for parameter in self.alphas:
            parameter.requires_grad_(False)
        self.cost = None
        if cost is not None:
            settings = dict(cost)
            shapes = cell_shapes(self.architecture, cells, settings.pop('input_shape'))
            blocks = None if self.placement is None else cells_of_blocks(self.named_choices())
            self.cost = ExpectedCost(cells, shapes, self._groups, blocks=blocks, **settings)

    @property
    def alphas(self) -> tuple[nn.Parameter, ...]:
        """Every architecture parameter, once each: each alpha, and with a placement the beta of each block."""
        return (*self.named_alphas().values(), *(choice.beta for choice in self.named_choices().values()))

    @property
    def num_groups(self) -> int:
        """K; with several, that of the first supernet."""
        return self.cells()[0].num_groups

    @property
    def primitives(self) -> tuple[str, ...]:
        """The names of alpha's columns."""
        return self.cells()[0].primitives

    def named_alphas(self) -> dict[str, nn.Parameter]:
        """Each alpha by stage; a single one has the empty name."""
        return {'': self.alpha} if list(self._groups) == [''] else dict(self.stage_alpha.items())

    def cells(self) -> list[SearchableHOGA]:
        """The supernets, in module order."""
        return list(self.named_cells().values())

    def named_cells(self, stage: str | None = None) -> dict[str, SearchableHOGA]:
        """:meth:`cells` by name, all of them or those of a stage of :meth:`named_alphas`."""
        cells = {n: module for n, module in self.architecture.named_modules() if isinstance(module, SearchableHOGA)}
        return cells if stage is None else {name: cells[name] for name in self._groups[stage]}

    def named_choices(self) -> dict[str, CellChoice]:
        """The choices of the blocks by name; empty without a placement."""
        return dict(self._choices)

    def kept(self) -> dict[str, int] | None:
        """The K that each block keeps, 0 for none, by the names of :meth:`named_choices`; None without a placement."""
        return None if self.placement is None else self.placement.kept(self.named_choices())

    def blocks(self) -> dict[str, dict[str, bool]] | None:
        """For each alpha by name, the blocks that may have a cell with it, and whether they keep it."""
        kept = self.kept()
        return None if kept is None else blocks_of(kept, {stage: self.named_cells(stage) for stage in self._groups})

    def genotype(self, meta: dict | None = None, stage: str = '') -> Genotype:
        """The genotype derived from alpha, or from the alpha of a stage (Eqs. 14, 16); ``meta`` records its origin."""
        return derive_genotype(self.named_alphas()[stage], self.primitives, meta)

    @contextmanager
    def differentiating_alpha(self) -> Iterator[tuple[nn.Parameter, ...]]:
        """Context in which alpha requires a gradient; yields :attr:`alphas`."""
        with _requiring_grad(self.alphas, True):
            yield self.alphas

    def frozen_weights(self) -> AbstractContextManager[None]:
        """Context in which the weights require no gradient, which saves the memory and time for theirs."""
        architecture = {id(alpha) for alpha in self.alphas}
        return _requiring_grad([p for p in self.parameters() if p.requires_grad and id(p) not in architecture], False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.training:
            for mixing in self.mixings:
                mixing.draw()
        return self.architecture(*args, **kwargs)

    def loss(self, data: Any, *, preprocessed: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
        """The total loss of a batch from a data loader or from the data preprocessor, and the values to log."""
        batch = data if preprocessed else self.data_preprocessor(data, True)
        return self.parse_losses(self._run_forward(batch, mode='loss'))

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Tensor]:
        """A step on the weights, by their optimizer alone."""
        if isinstance(optim_wrapper, OptimWrapperDict):
            raise TypeError(ANOTHER_LOOP.format('a loop that takes one step for both optimizers'))
        return super().train_step(data, optim_wrapper)

    def alpha_loss(self, data: Any, **options: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss that alpha descends on: :meth:`loss` of a batch of trainB, plus the expected cost if configured."""
        loss, outputs = self.loss(data, **options)
        if self.cost is not None:
            cost = self.cost(self.named_alphas(), cell_probabilities(self.named_choices()))
            outputs['cost'] = cost.detach()
            loss = loss + cost
        return loss, outputs

    def parse_losses(self, losses: dict) -> tuple[Tensor, dict[str, Tensor]]:
        return self.architecture.parse_losses(losses)

    def val_step(self, data: Any) -> list:
        """The predictions of the architecture; with ``val_loss`` also the loss, as mmengine expects it."""
        if not self.val_loss:
            return self.architecture.val_step(data)
        # Computing the loss must not change the random numbers that follow: a detector samples proposals.
        with torch.random.fork_rng(devices=[]):
            batch = self.data_preprocessor(data, False)
            total, _ = self.parse_losses(self._run_forward(batch, mode='loss'))
        return [*self.architecture.val_step(data), BaseDataElement(loss={'loss': total})]

    def test_step(self, data: Any) -> list:
        return self.architecture.test_step(data)


def _accept_plain_weights(state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Move the weights of a model without the wrapper, as a training saves them, below ``architecture``."""
    inside = f'{prefix}architecture.'
    if not any(key.startswith((inside, f'{prefix}alpha', f'{prefix}stage_alpha')) for key in state_dict):
        for key in [key for key in state_dict if key.startswith(prefix)]:
            state_dict[inside + key[len(prefix) :]] = state_dict.pop(key)


def unwrapped(model: nn.Module) -> Any:
    """The model without DistributedDataParallel or another wrapper."""
    return model.module if is_model_wrapper(model) else model


@contextmanager
def _requiring_grad(parameters: Sequence[nn.Parameter], required: bool) -> Iterator[None]:
    for parameter in parameters:
        parameter.requires_grad_(required)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(not required)
