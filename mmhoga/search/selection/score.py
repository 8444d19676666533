"""The score of a genotype: the derived network with the supernet's weights, evaluated without training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from mmhoga.genotype import Genotype
from mmhoga.insertion import estimate_norms
from mmhoga.models import HOGA
from mmhoga.search.model import SearchModel
from mmhoga.search.resume.state import seeded
from mmhoga.search.selection.derived_network import (
    derived_architecture,
    derived_cells,
    places_of,
    searched_modules,
)

Evaluation = Callable[[BaseModel], dict[str, float]]


class GenotypeScorer:
    """Scores genotypes with the weights that a search model has now. The model is copied once, and stays as it is.

    For each genotype the cells are derived, and the running statistics of the batch norms are estimated anew: those of
    the supernet are of other features. They are the averages over some batches of trainA. Batch norms that the network
    keeps in eval mode during training keep their statistics. All genotypes see the same batches and random numbers.

    Inheriting weights without training is the ranking of one-shot search (Bender et al., "Understanding and Simplifying
    One-Shot Architecture Search", ICML 2018, https://proceedings.mlr.press/v80/bender18a.html), and the estimation of
    batch norms before it that of Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling",
    https://arxiv.org/abs/1904.00420, section 3.4.

    Args:
        model: not wrapped.
        norm_batches: batches of trainA, as data loaders yield them; used for each genotype. Without any, the
            statistics stay those of the supernet.
        evaluate: maps a network in eval mode to its metrics: :func:`loss_on` or :func:`metrics_on`.
        seed: of the random numbers that an evaluation draws.
    """

    def __init__(self, model: SearchModel, norm_batches: Iterable[Any], evaluate: Evaluation, *, seed: int = 0) -> None:
        self.model = model
        self.norm_batches = list(norm_batches)
        self.evaluate = evaluate
        self.seed = seed
        genotypes = {stage: model.genotype(stage=stage) for stage in model.named_alphas()}
        self.network = derived_architecture(model, genotypes).train()
        cells = {name: self.network.get_submodule(name) for name in searched_modules(model)}
        self._places = places_of(self.network, {name: cell for name, cell in cells.items() if isinstance(cell, HOGA)})

    def __call__(self, genotypes: Mapping[str, Genotype]) -> dict[str, float]:
        """The metrics of one genotype per stage; a single alpha has the empty name.

        Raises:
            ValueError: as :func:`mmhoga.search.selection.derived_architecture`.
        """
        network = self.network
        cells = derived_cells(self.model, genotypes)
        for parent, child, name in self._places:
            parent._modules[child] = cells[name]
        network.train()
        batch_norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
        norms = [norm for norm in batch_norms if norm.training and norm.running_mean is not None]
        with seeded(self.seed), torch.no_grad():
            if self.norm_batches:
                estimate_norms(network, self.norm_batches, _forward, norms)
            return self.evaluate(network.eval())


def loss_on(batches: Iterable[Any]) -> Evaluation:
    """The mean loss over the samples of some batches, of all processes together, as ``{'loss': ...}``."""
    kept = list(batches)

    def evaluate(network: BaseModel) -> dict[str, float]:
        sums = torch.zeros(2, dtype=torch.float64)
        for data in kept:
            batch = network.data_preprocessor(data, False)
            loss, _ = network.parse_losses(network._run_forward(batch, mode='loss'))
            size = len(batch['inputs'])
            sums += torch.tensor([loss.item() * size, size], dtype=torch.float64)
        all_reduce(sums)
        return {'loss': (sums[0] / sums[1]).item()}

    return evaluate


def metrics_on(loader: DataLoader, evaluator: Evaluator) -> Evaluation:
    """The metrics of an evaluator of mmengine over a whole data set."""

    def evaluate(network: BaseModel) -> dict[str, float]:
        for data in loader:
            evaluator.process(data_samples=network.val_step(data), data_batch=data)
        return {name: float(value) for name, value in evaluator.evaluate(len(loader.dataset)).items()}  # type: ignore[arg-type]

    return evaluate


def lower_is_better(metric: str) -> bool:
    """Whether a metric is a loss, by its name; all others count as higher is better."""
    return 'loss' in metric.rpartition('/')[2]


def badness(metric: str, value: float) -> float:
    """A number that is larger for a worse value of a metric, and infinite for NaN."""
    return math.inf if math.isnan(value) else value if lower_is_better(metric) else -value


def chosen_metric(metrics: Mapping[str, float], metric: str | None) -> str:
    """The name of the metric to compare, by default the first one. ValueError if there is no such metric."""
    if metric is None:
        return next(iter(metrics))
    if metric not in metrics:
        raise ValueError(f'The evaluation has no metric {metric!r}. It has {", ".join(metrics)}.')
    return metric


def _forward(network: Any, data: Any) -> None:
    network._run_forward(network.data_preprocessor(data, True), mode='loss')
