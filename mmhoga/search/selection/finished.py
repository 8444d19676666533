"""A search that has ended, opened from its config and checkpoint: the supernet, its data, and scores of genotypes."""

from __future__ import annotations

import copy
import os
import tempfile
import uuid
import weakref
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import CheckpointLoader, Runner

from mmhoga.genotype import Genotype
from mmhoga.search.model import SearchModel, unwrapped
from mmhoga.search.resume.state import BatchStream
from mmhoga.search.selection.score import Evaluation, GenotypeScorer, loss_on, metrics_on

if TYPE_CHECKING:  # the loop imports this package
    from mmhoga.search.loop import SearchLoop

DATA = ('trainB', 'val')


class SupernetScore:
    """Scores genotypes by a finished search, without training them: :class:`GenotypeScorer` for a checkpoint.

    >>> score = SupernetScore('work_dirs/my_search/my_search.py', 'work_dirs/my_search/epoch_8.pth')  # doctest: +SKIP
    >>> score(Genotype.from_config('autola'))  # doctest: +SKIP
    {'loss': 0.31}

    Args:
        search_config: of the search, as a path or read.
        checkpoint: of the search.
        data: ``'trainB'``, for the loss on the half of the training data that the weights have not seen; or ``'val'``,
            for the metrics of ``val_evaluator`` on the whole ``val_dataloader``. Many configs validate on the test
            set: a genotype chosen by ``'val'`` was then chosen on it.
        batches: of trainB; None for all.
        norm_batches: of trainA, for the statistics of the batch norms.

    Batches stay in memory, since each genotype is evaluated on the same ones.

    Raises:
        ValueError: an unknown ``data``; ``'val'`` for a config without validation.
    """

    def __init__(
        self,
        search_config: str | os.PathLike | Config,
        checkpoint: str | os.PathLike,
        *,
        data: str = 'trainB',
        batches: int | None = 50,
        norm_batches: int = 20,
    ) -> None:
        self.loop = open_search(search_config, checkpoint)
        self.scorer = scorer_of(self.loop, data=data, batches=batches, norm_batches=norm_batches)

    @property
    def model(self) -> SearchModel:
        """The search model, with the weights of the checkpoint."""
        return self.scorer.model

    def __call__(self, genotype: Genotype | Mapping[str, Genotype]) -> dict[str, float]:
        """The metrics of a genotype, or of one per stage if each stage has its own alpha.

        Raises:
            ValueError: see :func:`mmhoga.search.selection.derived_architecture`.
        """
        return self.scorer({'': genotype} if isinstance(genotype, Genotype) else genotype)


def open_search(search_config: str | os.PathLike | Config, checkpoint: str | os.PathLike) -> SearchLoop:
    """The loop of a search with the weights, alpha, temperature and seed of a checkpoint.

    It writes only temporary files, and sets the seeds of this process, as every start of a run does.
    """
    if isinstance(search_config, Config):
        cfg = copy.deepcopy(search_config)
    else:
        cfg = Config.fromfile(os.fspath(search_config))
    folder = tempfile.TemporaryDirectory(prefix='mmhoga_')
    cfg.merge_from_dict({'work_dir': folder.name, 'resume': False, 'load_from': None, 'log_level': 'WARNING'})
    cfg.experiment_name = f'opened_{uuid.uuid4().hex}'  # mmengine keeps one logger per name
    cfg.visualizer = None
    state: dict[str, Any] = CheckpointLoader.load_checkpoint(os.fspath(checkpoint), map_location='cpu', logger='silent')
    meta = state.get('meta', {})
    cfg.randomness = {**(cfg.get('randomness') or {}), 'seed': meta.get('seed')}
    runner: Runner = RUNNERS.build(cfg)
    loop: Any = runner.train_loop
    weakref.finalize(loop, folder.cleanup)
    model = unwrapped(runner.model)
    model.load_state_dict(state['state_dict'])
    loop._epoch = meta.get('epoch', loop.max_epochs)
    loop.mix_schedule.start_epoch(model, max(0, loop._epoch - 1))
    return loop


def scorer_of(
    loop: SearchLoop, *, data: str = 'trainB', batches: int | None = 50, norm_batches: int = 20
) -> GenotypeScorer:
    """A scorer for the weights that a search has now; the arguments are those of :class:`SupernetScore`."""
    seed = loop.runner.seed
    norms = first_batches(loop, 'trainA', norm_batches)
    return GenotypeScorer(unwrapped(loop.runner.model), norms, evaluation(loop, data, batches), seed=seed)


def evaluation(loop: SearchLoop, data: str, batches: int | None) -> Evaluation:
    """The loss on batches of trainB, or the metrics of the validation."""
    if data not in DATA:
        raise ValueError(f'data must be one of {DATA}, not {data!r}.')
    if data == 'trainB':
        return loss_on(first_batches(loop, 'trainB', batches))
    validation: Any = loop.runner.val_loop
    if validation is None:
        raise ValueError("data='val' needs a validation: val_dataloader, val_evaluator and val_cfg in the config.")
    meta = getattr(validation.dataloader.dataset, 'metainfo', None)
    if meta is not None:
        validation.evaluator.dataset_meta = meta
    return metrics_on(validation.dataloader, validation.evaluator)


def first_batches(loop: SearchLoop, part: str, number: int | None, purpose: str = 'score') -> Iterator[Any]:
    """The first batches of an epoch that no other purpose has: shuffled, and the same in every call."""
    loader = loop.dataloader if part == 'trainA' else loop.alpha_dataloader
    length = len(loader) if number is None else min(number, len(loader))
    stream = BatchStream(loader, f'{part}/{purpose}', seed=loop.runner.seed, epochs=1, length=length)
    return islice(stream.start(), length)
