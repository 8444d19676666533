"""The training loop of a search (section 3.3): alpha on trainB, weights on trainA, in turn."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

from mmengine.hooks import LoggerHook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from mmhoga.registry import LOOPS
from mmhoga.search.compiling import compile_cells
from mmhoga.search.descent import (
    CHOICES,
    descend_alpha,
    descend_weights,
    first_order_gradients,
    require_equal_alpha,
    weight_gradients,
)
from mmhoga.search.finite import FiniteWatch
from mmhoga.search.graphs import CapturedGradients, Transfer, require_capturable
from mmhoga.search.loaders import NAMES, search_loaders
from mmhoga.search.model import ANOTHER_LOOP, SearchModel, unwrapped
from mmhoga.search.records.hook import GenotypeHook
from mmhoga.search.records.hub import DeferredHub
from mmhoga.search.records.log import SearchLogProcessor
from mmhoga.search.resume.changes import Follower
from mmhoga.search.resume.checkpoint import SearchCheckpointHook, StopRequest
from mmhoga.search.resume.hooks import keep_alpha_raw
from mmhoga.search.resume.state import BatchStream, SearchError, set_process_state
from mmhoga.search.selection.schedule import MixSchedule
from mmhoga.search.selection.select import Selection


def require_search_loop(runner: Runner) -> None:
    """Refuse to train a :class:`SearchModel` by another loop, before mmengine builds anything for it.

    Raises:
        SearchError: the ``train_cfg`` of the runner is not that of a :class:`SearchLoop`.
    """
    loop = runner._train_loop
    if not isinstance(unwrapped(runner.model), SearchModel) or not isinstance(loop, dict):
        return
    kind = loop.get('type', 'EpochBasedTrainLoop' if loop.get('by_epoch', True) else 'IterBasedTrainLoop')
    built = LOOPS.get(kind) if isinstance(kind, str) else kind
    if not (isinstance(built, type) and issubclass(built, SearchLoop)):
        raise SearchError(ANOTHER_LOOP.format(getattr(kind, '__name__', kind)))


@LOOPS.register_module()
class SearchLoop(EpochBasedTrainLoop):
    """Alternating gradient descent on Eq. (15).

    Each iteration updates alpha on the loss of a batch of trainB, then the weights on the loss of a batch of trainA. An
    epoch is one pass over trainA. trainB is reshuffled for each epoch, and again within an epoch if it is shorter.

    A run that was killed, or that SIGTERM stopped (it saves and exits with 143), ends after ``--resume`` exactly where
    an uninterrupted one ends; docs/searching.md explains how.

    Several processes average alpha's gradient in one reduction. A first-order step on alpha computes no weight
    gradient, and no step on alpha communicates one, except with ``unroll='joint'``.

    ``compile`` at the top of the config, mmengine's own key, compiles the cells. mmengine itself would compile
    ``train_step``, which is only one of the two steps of a search.

    Args:
        dataloader: the config's ``train_dataloader``.
        alpha_dataloader: with ``split``, the settings in which the loader of trainB differs from ``train_dataloader``,
            for instance ``dict(batch_size=64)``. Without it, the loader of trainB with its own data set.
        split: ``dict(fraction=0.5, seed=0)`` makes trainA and trainB from the data set of ``train_dataloader``; see
            :func:`mmhoga.search.halves.halves`. By default the data set of ``train_dataloader`` is trainA.
        order: of alpha's gradient: 1 (the paper's), or 2 (DARTS, unrolled; the optimizer of the weights must be SGD).
        hessian: for the second order, ``'finite_difference'`` or ``'exact'``: see :mod:`mmhoga.search.bilevel`.
        unroll: for the second order in several processes: in ``'local'`` each process takes the virtual step of its own
            batch; in ``'joint'`` all take that of the joint batch, which costs two reductions of the weights' size.
        warmup_epochs, temperature, sampling: of the mix, see :class:`mmhoga.search.selection.schedule.MixSchedule`.
        selection: ``dict(method='argmax', ...)``: the choice of the genotype when the last epoch has ended, see
            :class:`mmhoga.search.selection.select.Selection`. A search that is resumed after that repeats it.
        cuda_graphs: capture the forward and the backward pass of each step in a CUDA graph, see
            :mod:`mmhoga.search.graphs`. For models that read nothing on the host, such as classifiers, on one GPU.
        kwargs: ``val_begin``, ``val_interval`` and ``dynamic_intervals`` of mmengine's ``EpochBasedTrainLoop``.

    Raises:
        TypeError: the model is not a :class:`SearchModel`, or ``optim_wrapper`` was not built by
            :class:`SearchOptimWrapperConstructor`.
        ValueError: trainA or trainB yields no batch, or is given twice; an unknown ``order``, ``hessian`` or
            ``unroll``; invalid settings of the mix or of the selection; ``compile`` is neither bool nor dict, or is
            combined with ``hessian='exact'`` or ``cuda_graphs``; ``cuda_graphs`` with other settings that it does not
            support; two GenotypeHooks. Also the errors of
            :func:`mmhoga.search.halves.halves`.
        SearchError: the work_dir belongs to another run; the checkpoint is of another search; alpha is not finite, or
            differs between processes.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        alpha_dataloader: DataLoader | dict | None = None,
        *,
        max_epochs: int,
        split: dict[str, Any] | None = None,
        order: int = 1,
        hessian: str = 'finite_difference',
        unroll: str = 'local',
        warmup_epochs: int = 0,
        temperature: float | Mapping[str, Any] = 1.0,
        sampling: str = 'softmax',
        selection: Mapping[str, Any] | None = None,
        cuda_graphs: bool = False,
        **kwargs: Any,
    ) -> None:
        self.settings: dict[str, Any] = {'order': order, 'hessian': hessian, 'unroll': unroll}
        for name, value in self.settings.items():
            if value not in CHOICES[name]:
                raise ValueError(f'train_cfg.{name} must be one of {CHOICES[name]}, not {value!r}.')
        model = unwrapped(runner.model)
        if not isinstance(model, SearchModel):
            raise TypeError(
                f"A search needs model=dict(type='mmhoga.SearchModel', architecture=...), not {type(model).__name__}."
            )
        record = Path(runner.work_dir) / 'last_checkpoint'
        if record.is_file() and not runner._resume:
            last = Path(record.read_text(encoding='utf-8').strip()).name
            raise SearchError(
                f'{runner.work_dir} holds a run, up to {last}, which a new search would overwrite. Resume it '
                '(--resume), choose another folder (--work-dir), or remove this one.'
            )
        self.mix_schedule = MixSchedule(max_epochs, warmup_epochs, temperature, sampling)
        self.mix_schedule.prepare(model)
        self.selection = Selection(**(selection or {}))
        self._uses_graphs = cuda_graphs
        self._graphs: dict[str, CapturedGradients] = {}
        compile_cells(runner, model, cuda_graphs=cuda_graphs, **self.settings)
        loaders = search_loaders(runner, dataloader, alpha_dataloader, split)
        super().__init__(runner, loaders[0], max_epochs, **kwargs)
        self.alpha_dataloader = loaders[1]
        self.split = None if split is None else {'fraction': 0.5, 'seed': 0, 'stratified': True, **split}
        if isinstance(runner.param_schedulers, dict):  # mmengine requires an entry for each optimizer
            for name in ('weights', 'alpha'):
                runner.param_schedulers.setdefault(name, [])
        GenotypeHook.install(runner)
        SearchLogProcessor.install(runner)
        DeferredHub.install(runner)
        self._finite = FiniteWatch()
        self._log_interval = next((h.interval for h in runner.hooks if isinstance(h, LoggerHook)), 0)
        self._checkpoint = SearchCheckpointHook.install(runner)
        self.stop_request = StopRequest()
        self.resumed: dict[str, Any] | None = None  # SearchCheckpointHook stores a checkpoint's state here
        self._position = 0  # number of batches of this epoch that were used before this process started
        self._iter: int
        self._streams: tuple[BatchStream, ...] = ()
        self._follower = Follower(*(loader.dataset for loader in loaders)) if self.split else None

    def run(self) -> nn.Module:
        wrappers = self.runner.optim_wrapper
        if not isinstance(wrappers, OptimWrapperDict) or set(wrappers.keys()) != {'weights', 'alpha'}:
            raise TypeError(
                "A search needs optim_wrapper=dict(constructor='mmhoga.SearchOptimWrapperConstructor', weights=..., "
                'alpha=...).'
            )
        if self._uses_graphs:
            self._capture(wrappers)
        keep_alpha_raw(self.runner)
        with self.stop_request:
            self.runner.call_hook('before_train')
            try:
                self._start()
                while self._epoch < self._max_epochs and not self.stop_training:
                    self.run_epoch()
                    self._validate()
                self.selection.run(self)
            finally:
                for stream in self._streams:
                    stream.close()
            self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """One pass over trainA, or what is left of it."""
        self.mix_schedule.start_epoch(unwrapped(self.runner.model), self._epoch)
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        position, self._position = self._position, 0
        if self._follower:
            self._follower.update()
        at = self._epoch, position
        warmup = self._epoch < self.mix_schedule.warmup_epochs  # reads nothing of trainB
        batches = self._streams[0].epoch(*at)
        alpha_batches = repeat(None) if warmup else self._streams[1].epoch(*at)
        for index, (data, alpha_data) in enumerate(zip(batches, alpha_batches), position):
            self.run_iter(index, data, alpha_data)
        self.require_finite_alpha()
        if self.runner.distributed:
            require_equal_alpha(unwrapped(self.runner.model).alphas, self._epoch + 1)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Any, alpha_batch: Any) -> None:
        """One step on alpha, unless this is a warm-up epoch, and one on the weights."""
        self.runner.call_hook('before_train_iter', batch_idx=idx, data_batch=data_batch)
        try:
            alpha_outputs = {} if alpha_batch is None else self.alpha_step(alpha_batch, data_batch)
            outputs = self.weight_step(data_batch)
        except Exception:
            self.require_finite_alpha()  # if it is not finite, that is the cause
            raise
        if self._log_interval and (idx + 1) % self._log_interval == 0:
            self.require_finite_alpha()
        outputs.update({f'alpha_{name}': value for name, value in alpha_outputs.items()})
        self.runner.call_hook('after_train_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs)
        self._iter += 1
        if self.stop_request.in_any_process():
            self._checkpoint.save_and_exit(self.runner)

    def alpha_step(self, data: Any, train_data: Any = None) -> dict[str, Any]:
        """Descend alpha on a batch of trainB; returns the values to log."""
        model = unwrapped(self.runner.model)
        captured = self._graphs.get('alpha')
        outputs = descend_alpha(model, self.runner.optim_wrapper, data, train_data, **self.settings, captured=captured)
        self._finite.update(model.alphas, outputs['loss'], self._iter + 1)
        return outputs

    def weight_step(self, data: Any) -> dict[str, Any]:
        """Descend the weights on a batch of trainA; returns the values to log."""
        model, wrapper = self.runner.model, self.runner.optim_wrapper['weights']
        captured = self._graphs.get('weights')
        if captured is None:
            return model.train_step(data, optim_wrapper=wrapper)
        outputs, gradients = captured(data)
        descend_weights(wrapper, gradients)
        return outputs

    def require_finite_alpha(self) -> None:
        """Raise a SearchError if alpha is not finite: at each line of the log, and before a checkpoint or record."""
        self._finite.require(self._epoch + 1)

    def validation_follows(self, epoch: int) -> bool:
        """Whether the search validates after this many epochs."""
        return (
            self.runner.val_loop is not None
            and epoch >= self.val_begin
            and (epoch % self.val_interval == 0 or epoch == self._max_epochs)
        )

    def _capture(self, wrappers: OptimWrapperDict) -> None:
        model = unwrapped(self.runner.model)
        require_capturable(wrappers, model.alphas[0], self.settings['order'])
        alpha, weights = wrappers['alpha'], wrappers['weights']
        transfer = Transfer(model.data_preprocessor, model.alphas[0].device)
        on_alpha = partial(first_order_gradients, model, alpha, preprocessed=True)
        self._graphs['alpha'] = CapturedGradients(on_alpha, transfer)
        self._graphs['weights'] = CapturedGradients(partial(weight_gradients, model, weights), transfer)

    def _start(self) -> None:
        """Make both data streams, and restore the rest of the state, at the position of the checkpoint."""
        runner, state = self.runner, self.resumed
        loaders = (self.dataloader, self.alpha_dataloader)
        length, alpha_length = map(len, loaders)
        if state is not None:
            self._position = self._iter - self._epoch * state['batches_per_epoch']
            before = f'{len(state["processes"])} processes with {state["batches_per_epoch"]} batches per epoch'
            now = f'{runner.world_size} processes with {length} batches per epoch'
            if before != now:
                if self._position:
                    raise SearchError(
                        f'this checkpoint is from the middle of an epoch of {before}, and the config has {now}. '
                        'Restore them, or resume from the end of an epoch (--resume CHECKPOINT).'
                    )
                self._iter = self._epoch * length
                runner.logger.warning(f'The search ran on {before}, now on {now}: the result will not be exact.')
            for loader, seed in zip(loaders, state['sampler_seeds']):
                if seed is not None:
                    loader.sampler.seed = seed
        warmup = self.mix_schedule.warmup_epochs
        for name, wrapper in runner.optim_wrapper.items():  # OptimWrapperDict does not do this
            skipped = warmup * length if name == 'alpha' else 0
            wrapper.initialize_count_status(runner.model, 0, self._max_iters - skipped)
            # Set privately: the public way warns about lost gradients.
            wrapper._inner_count = max(0, self._iter - skipped)
        if alpha_length != length:
            effect = 'reshuffled within an epoch' if alpha_length < length else f'cut to {length} batches per epoch'
            runner.logger.info(f'trainA has {length} batches, trainB {alpha_length}: trainB is {effect}.')
        self._streams = tuple(
            BatchStream(loader, name, seed=runner.seed, epochs=self._max_epochs, length=length)
            for loader, name in zip(loaders, NAMES)
        )
        if state is not None:
            set_process_state(runner, state['processes'][runner.rank % len(state['processes'])])
            self.resumed = None
            if self._epoch and not self._position:
                self.mix_schedule.start_epoch(unwrapped(runner.model), self._epoch - 1)
                self._validate()  # the checkpoint was written before the validation of its epoch

    def _validate(self) -> None:
        self._decide_current_val_interval()
        if self.validation_follows(self._epoch):
            self.runner.val_loop.run()
