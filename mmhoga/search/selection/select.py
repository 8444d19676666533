"""The choice of the genotype at the end of a search."""

from __future__ import annotations

import bisect
import random
import reprlib
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.optim import build_optim_wrapper
from torch import Tensor

from mmhoga.genotype import Genotype, from_edges
from mmhoga.search.model import SearchModel, unwrapped
from mmhoga.search.resume.checkpoint import EXIT_STOPPED
from mmhoga.search.resume.hooks import averaged_weights
from mmhoga.search.resume.state import BatchStream
from mmhoga.search.selection.finished import DATA, evaluation, scorer_of
from mmhoga.search.selection.perturbation import PerturbationSelection, Tuning
from mmhoga.search.selection.results import write_results
from mmhoga.search.selection.score import badness, chosen_metric

if TYPE_CHECKING:  # the loop imports this module
    from mmhoga.search.loop import SearchLoop

_EVALUATED: dict[str, Any] = {'data': 'trainB', 'batches': 50, 'metric': None}
#: The options of each method, with their defaults.
OPTIONS: dict[str, dict[str, Any]] = {
    'argmax': {},
    'perturbation': {**_EVALUATED, 'tune_iterations': 20, 'tune_lr': 0.1, 'seed': None},
    'score': {**_EVALUATED, 'norm_batches': 20, 'candidates': 20, 'seed': None},
}


class Selection:
    """Chooses a genotype with the supernet at the end of a search, and writes it (:func:`.results.write_results`).

    Args:
        method: ``'argmax'``, the paper's: the most likely operation of each edge except ``none`` (Eqs. 14, 16).
            ``'score'``: the best of some genotypes by :class:`.score.GenotypeScorer`: that of ``'argmax'``, and others
            drawn from softmax(alpha) without ``none``.
            ``'perturbation'``: :class:`.perturbation.PerturbationSelection`.
        options: with ``'perturbation'`` and ``'score'``:

            - ``data='trainB'``, the loss on the half that the weights have not seen; or ``'val'``, the metrics of the
              validation, which in many configs is on the test set;
            - ``batches=50``: of trainB; None for all;
            - ``metric=None``: with ``'val'``; by default the first one. A metric with "loss" in its name is better
              when it is lower, others when they are higher;
            - ``seed=None``: of the draws; by default that of the run.

            With ``'score'``: ``candidates=20``, and ``norm_batches=20`` of trainA for the statistics of the batch norms
            of each candidate.
            With ``'perturbation'``: after each edge, ``tune_iterations=20`` steps on trainA, with ``tune_lr=0.1`` times
            the initial learning rate of the weights (DARTS-PT takes 5 epochs; 0 for none).

    Raises:
        ValueError: an unknown method, or an option that the method does not have.
    """

    def __init__(self, method: str = 'argmax', **options: Any) -> None:
        if method not in OPTIONS:
            raise ValueError(f'train_cfg.selection.method must be one of {tuple(OPTIONS)}, not {reprlib.repr(method)}.')
        unknown = sorted(options.keys() - OPTIONS[method].keys())
        if unknown:
            raise ValueError(
                f'train_cfg.selection: the method {method!r} has no option {", ".join(unknown)}. Its options are '
                f'{", ".join(OPTIONS[method]) or "none"}.'
            )
        self.method = method
        self.options = {**OPTIONS[method], **options}
        if self.options.get('data', DATA[0]) not in DATA:
            raise ValueError(f'train_cfg.selection.data must be one of {DATA}, not {reprlib.repr(options["data"])}.')
        for name in ('batches', 'candidates'):
            value = self.options.get(name)
            if value is not None and not value >= 1:
                raise ValueError(f'train_cfg.selection.{name} must be at least 1, not {reprlib.repr(value)}.')
        for name in ('norm_batches', 'tune_iterations', 'tune_lr'):
            if not self.options.get(name, 0) >= 0:
                raise ValueError(
                    f'train_cfg.selection.{name} must not be negative, but is {reprlib.repr(options[name])}.'
                )

    def run(
        self, loop: SearchLoop, folder: str | Path | None = None, origin: str | Path | None = None
    ) -> dict[str, Genotype]:
        """Select, and write the files. Every process must call it, and gets the same genotypes.

        With EMAHook, the genotypes are evaluated with the averaged weights, which also the last checkpoint holds.

        Args:
            loop: of the search, running or opened.
            folder: for the files, by default ``origin``.
            origin: the work_dir of the search, by default that of the loop.
        """
        origin = Path(origin or loop.runner.work_dir)
        model = unwrapped(loop.runner.model)
        with averaged_weights(loop.runner):
            genotypes, summary, record = getattr(self, f'_by_{self.method}')(loop, model)
            if is_main_process():
                write_results(
                    Path(folder or origin),
                    loop.runner.cfg,
                    model,
                    genotypes,
                    {'method': self.method, **summary},
                    record,
                    origin=origin,
                )
        return genotypes

    def _by_argmax(self, loop: SearchLoop, model: SearchModel) -> tuple[dict[str, Genotype], dict, None]:
        return most_likely(model), {}, None

    def _by_score(self, loop: SearchLoop, model: SearchModel) -> tuple[dict[str, Genotype], dict, dict]:
        options = self.options
        seed = _common_seed(loop, options['seed'])
        score = scorer_of(loop, data=options['data'], batches=options['batches'], norm_batches=options['norm_batches'])
        results = []
        for genotypes in sampled_genotypes(model, options['candidates'], seed):
            results.append((score(genotypes), genotypes))
            _stop_if_asked(loop)
        metric = chosen_metric(results[0][0], options['metric'])
        results.sort(
            key=lambda result: badness(metric, result[0][metric])
        )  # stable: of equal scores the most likely wins
        best = results[0][0][metric]
        loop.runner.logger.info(
            f'Selection by score: {len(results)} candidates, {metric} from {best:.4g} to {results[-1][0][metric]:.4g}.'
        )
        candidates = [{'metrics': metrics, 'genotype': _rows(genotypes)} for metrics, genotypes in results]
        summary = {'data': options['data'], 'metric': metric, 'score': best, 'candidates': len(results)}
        return results[0][1], summary, {'metric': metric, 'candidates': candidates}

    def _by_perturbation(self, loop: SearchLoop, model: SearchModel) -> tuple[dict[str, Genotype], dict, dict]:
        options = self.options
        seed = _common_seed(loop, options['seed'])
        selection = PerturbationSelection(
            model,
            evaluation(loop, options['data'], options['batches']),
            metric=options['metric'],
            seed=seed,
            progress=lambda: _stop_if_asked(loop),
        )
        iterations = options['tune_iterations']
        if iterations:
            selection.tune = _tuning(loop, selection.model, iterations, options['tune_lr'])
        genotypes = selection.run()
        score = selection.score()
        loop.runner.logger.info(
            f'Selection by perturbation: {selection.metric} {score:.4g} with one operation on each of '
            f'{len(selection.removals)} edges.'
        )
        summary = {'data': options['data'], 'metric': selection.metric, 'score': score}
        return genotypes, summary, {'metric': selection.metric, 'removals': selection.removals}


def _common_seed(loop: SearchLoop, seed: int | None) -> int:
    """The seed of the draws in every process: with ``diff_rank_seed`` those of the run differ."""
    seeds = [loop.runner.seed if seed is None else seed]
    broadcast_object_list(seeds)
    return seeds[0]


def most_likely(model: SearchModel) -> dict[str, Genotype]:
    """The genotype of each stage by Eqs. 14 and 16."""
    return {stage: model.genotype(stage=stage) for stage in model.named_alphas()}


def sampled_genotypes(model: SearchModel, number: int, seed: int) -> list[dict[str, Genotype]]:
    """Different genotypes: first the most likely, then draws from softmax(alpha) without ``none``, edge by edge.

    Fewer than ``number`` if 1000 draws in a row bring nothing new.
    """
    generator = random.Random(seed)
    found = {tuple(most_likely(model).items()): None}
    fruitless = 0
    while len(found) < number and fruitless < 1000:
        drawn = {stage: _draw(alpha, model.primitives, generator) for stage, alpha in model.named_alphas().items()}
        key = tuple(drawn.items())
        fruitless = fruitless + 1 if key in found else 0
        found[key] = None
    return [dict(key) for key in found]


def _draw(alpha: Tensor, primitives: tuple[str, ...], generator: random.Random) -> Genotype:
    chosen = []
    columns = [column for column, name in enumerate(primitives) if name != 'none']
    for row in alpha.detach().double().cpu()[:, columns].softmax(-1).tolist():
        steps = list(accumulate(row))
        # random() is the only method whose numbers Python guarantees never to change for a given seed.
        column = min(bisect.bisect_right(steps, generator.random() * steps[-1]), len(steps) - 1)
        chosen.append(primitives[columns[column]])
    return from_edges(chosen)


def _tuning(loop: SearchLoop, model: SearchModel, iterations: int, factor: float) -> Tuning:
    """Steps on trainA with the optimizer of the config, at ``factor`` times its initial learning rates."""
    wrapper = build_optim_wrapper(model, loop.runner.cfg.optim_wrapper)['weights']
    for group in wrapper.optimizer.param_groups:
        group['lr'] *= factor
    total = iterations * sum(len(alpha) for alpha in model.named_alphas().values())
    loader = loop.dataloader
    stream = BatchStream(loader, 'trainA/tuning', seed=loop.runner.seed, epochs=1 + total // len(loader))
    return Tuning(wrapper, stream.start(), iterations)


def _stop_if_asked(loop: SearchLoop) -> None:
    """Exit after a SIGTERM. A resumed search, whose last epoch has ended, repeats the selection."""
    if loop.stop_request.in_any_process():
        loop.runner.logger.info('SIGTERM during the selection of the genotype: --resume repeats the selection.')
        raise SystemExit(EXIT_STOPPED)


def _rows(genotypes: Mapping[str, Genotype]) -> Any:
    """For JSON: the rows of a single genotype, or by stage."""
    rows = {stage: [list(row) for row in genotype.edges] for stage, genotype in genotypes.items()}
    return rows.get('', rows)
