"""Perturbation-based selection: the operation whose removal hurts the supernet most."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dist import all_reduce_params
from mmengine.optim import OptimWrapper
from torch.nn.modules.batchnorm import _BatchNorm

from mmhoga.genotype import Genotype, edge_list, edge_name, from_edges
from mmhoga.search.model import SearchModel
from mmhoga.search.resume.state import seeded
from mmhoga.search.selection.score import Evaluation, badness, chosen_metric


class PerturbationSelection:
    """DARTS-PT: Wang et al., "Rethinking Architecture Selection in Differentiable NAS", ICLR 2021,
    https://arxiv.org/abs/2108.04392, Algorithm 1.

    For each edge, in random order: every candidate is removed from the mix in turn, and the one without which the
    supernet is worst is kept. The edge then has only this operation, and ``tune`` adapts the weights. ``none`` is
    removed with the others but never kept (Eqs. 14, 16 of our paper). The second phase of DARTS-PT, which selects the
    2 input edges of each node, does not apply: HOGA keeps all edges (Eq. 2).

    A removed candidate has alpha -inf, so that the shares of the others are normalised again. As in the authors' code,
    the batch norms of the supernet normalise with the statistics of the batch. A supernet that was trained on samples
    (:meth:`mmhoga.models.mixing.Mixing.enable_sampling`) is evaluated by its softmax all the same, since a mix of one
    operation does not change when another is removed. It was not trained for that: ``'score'`` suits it better.

    Args:
        model: not wrapped; a copy is perturbed.
        evaluate: maps a network to its metrics.
        metric: of ``evaluate``; by default the first one.
        tune: called with the copy after each edge.
        seed: of the order of the edges, and of the random numbers that an evaluation draws.
        progress: called after each evaluation.

    Raises:
        ValueError: a single candidate, which leaves nothing to compare; an unknown metric.
    """

    def __init__(
        self,
        model: SearchModel,
        evaluate: Evaluation,
        *,
        metric: str | None = None,
        tune: Callable[[SearchModel], None] | None = None,
        seed: int = 0,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        if len(model.primitives) < 2:
            raise ValueError(
                f'With the single candidate {model.primitives[0]} there is nothing to select: nothing is left on an '
                "edge without it. Use method='argmax'."
            )
        self.model = copy.deepcopy(model)
        for mixing in self.model.mixings:
            mixing.noise = None
        self.evaluate = evaluate
        self.metric = metric
        self.tune = tune
        self.seed = seed
        self.progress = progress
        #: One record per edge, in the order of the decisions.
        self.removals: list[dict[str, Any]] = []

    def run(self) -> dict[str, Genotype]:
        """The genotype of each stage; a single alpha has the empty name."""
        model, alphas = self.model, self.model.named_alphas()
        places = [(stage, row) for stage, alpha in alphas.items() for row in range(len(alpha))]
        random.Random(self.seed).shuffle(places)
        kept: dict[str, dict[int, str]] = {stage: {} for stage in alphas}
        for stage, row in places:
            alpha = alphas[stage].data[row]
            without = self._values_without(alpha)
            name = kept[stage][row] = self._most_missed(without)
            alpha.fill_(-math.inf)
            alpha[model.primitives.index(name)] = 0
            edge = edge_name(*edge_list(len(alphas[stage]))[row])  # of the first edges, the order is that of any K
            self.removals.append({'stage': stage, 'edge': edge, 'kept': name, 'without': without})
            if self.tune is not None:
                self.tune(model)
        return {stage: from_edges([name for _, name in sorted(rows.items())]) for stage, rows in kept.items()}

    def score(self) -> float:
        """The metric of the supernet as it is now."""
        with _batch_statistics(self.model), seeded(self.seed), torch.no_grad():
            metrics = self.evaluate(self.model.architecture)
        self.progress()
        self.metric = chosen_metric(metrics, self.metric)
        return metrics[self.metric]

    def _values_without(self, alpha: torch.Tensor) -> dict[str, float]:
        """The metric without each candidate of an edge; alpha, a row, is the same afterwards."""
        values = {}
        for column, name in enumerate(self.model.primitives):
            if name != 'none':
                before = alpha[column].clone()
                alpha[column] = -math.inf
                values[name] = self.score()
                alpha[column] = before
        return values

    def _most_missed(self, without: dict[str, float]) -> str:
        metric = self.metric
        assert metric is not None
        return max(without, key=lambda name: badness(metric, without[name]))


class Tuning:
    """A number of steps of the weights' optimizer on trainA.

    Args:
        wrapper: the optimizer wrapper of the weights of the model that is tuned.
        batches: of trainA, as many as are asked for.
        iterations: per call.
    """

    def __init__(self, wrapper: OptimWrapper, batches: Iterator[Any], iterations: int) -> None:
        self.wrapper, self.batches, self.iterations = wrapper, batches, iterations

    def __call__(self, model: SearchModel) -> None:
        model.train()
        weights = [p for group in self.wrapper.optimizer.param_groups for p in group['params']]
        for _ in range(self.iterations):
            with self.wrapper.optim_context(model):
                loss, _ = model.loss(next(self.batches))
            self.wrapper.backward(self.wrapper.scale_loss(loss))
            if self.wrapper.should_update():
                all_reduce_params([p.grad for p in weights if p.grad is not None], op='mean')
                self.wrapper.step()
                self.wrapper.zero_grad()


@contextmanager
def _batch_statistics(model: SearchModel) -> Iterator[None]:
    """Eval mode, except for the batch norms that are trained, whose running statistics are restored."""
    model.train()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]
    buffers = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]
    model.eval()
    for norm in norms:
        norm.train()
    try:
        yield
    finally:
        for buffer, before in buffers:
            buffer.copy_(before)
