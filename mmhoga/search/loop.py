"""The bilevel loop (section 3.3): alpha on trainB, weights on trainA, in turn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from mmhoga.registry import LOOPS
from mmhoga.search.descent import AlphaDescent
from mmhoga.search.model import SearchModel, unwrapped
from mmhoga.search.resume.checkpoint import SearchCheckpointHook
from mmhoga.search.resume.processes import require_one_alpha
from mmhoga.search.resume.signals import EXIT_STOPPED, StopRequest
from mmhoga.search.resume.state import SearchError, require_free, set_process_state
from mmhoga.search.resume.streams import BatchStream


@LOOPS.register_module()
class SearchLoop(EpochBasedTrainLoop):
    """Alternating gradient descent on Eq. (15).

    Each iteration updates alpha by the loss on a batch of trainB, then the weights by the loss on a batch of trainA. An
    epoch is one pass over trainA; trainB is shuffled anew for each, and again whenever it ends earlier.

    A run that was killed, or that SIGTERM stopped (it saves, and exits with 143), ends after ``--resume`` exactly where
    it would have ended: docs/search.md says what that rests on.

    Under DistributedDataParallel alpha's gradient is averaged over the ranks by this loop, in one reduction. No weight
    gradient is computed in a first-order step on alpha, and none is communicated in any, but for ``unroll='joint'``.

    ``compile`` at the top of the config, mmengine's own key, compiles the cells (:meth:`SearchModel.compile_cells`) and
    not, as elsewhere, ``train_step``, which is but one of a search's two steps.

    Args:
        runner: mmengine's.
        dataloader: trainA (the config's ``train_dataloader``).
        alpha_dataloader: trainB.
        max_epochs, val_begin, val_interval, dynamic_intervals: as in ``EpochBasedTrainLoop``.
        order: of the architecture gradient: 1 (the paper's), or 2 (DARTS unrolled; the weights' optimizer must be SGD).
        hessian: of the second order, ``'finite_difference'`` or ``'exact'``: see :mod:`mmhoga.search.bilevel`.
        unroll: of the second order in several processes: ``'local'``, each takes the virtual step of its own batch; or
            ``'joint'``, all take that of the joint batch, for two reductions of the weights' size.

    Raises:
        TypeError: the model is no :class:`SearchModel`, or ``optim_wrapper`` is not that of
            :class:`SearchOptimWrapperConstructor`.
        ValueError: trainA or trainB yields no batch; an unknown ``order``, ``hessian`` or ``unroll``; a ``compile`` of
            another type than bool or dict, or beside ``hessian='exact'``.
        SearchError: the work_dir belongs to another run; the checkpoint is of another search; alpha is no longer
            finite, or no longer the same on every rank.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        alpha_dataloader: DataLoader | dict,
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: list[tuple[int, int]] | None = None,
        *,
        order: int = 1,
        hessian: str = 'finite_difference',
        unroll: str = 'local',
    ) -> None:
        self.descent = AlphaDescent(order, hessian, unroll)
        if not runner._resume:
            require_free(runner.work_dir)
        self._compile_cells(runner)
        super().__init__(runner, dataloader, max_epochs, val_begin, val_interval, dynamic_intervals)
        self.alpha_dataloader: DataLoader = runner.build_dataloader(
            alpha_dataloader,
            seed=runner.seed,
            diff_rank_seed=runner._randomness_cfg.get('diff_rank_seed', False),
        )
        if isinstance(runner.param_schedulers, dict):  # mmengine would demand an entry for each optimizer
            for name in ('weights', 'alpha'):
                runner.param_schedulers.setdefault(name, [])
        for name, loader in (('train_dataloader', self.dataloader), ('alpha_dataloader', self.alpha_dataloader)):
            if not len(loader):
                raise ValueError(
                    f'{name} yields no batch: {len(loader.dataset)} samples, batch size {loader.batch_size}. '
                    'Use a smaller batch, or drop_last=False.'
                )
        self._checkpoint = SearchCheckpointHook.install(runner)
        self._stop = StopRequest()
        self.resumed: dict[str, Any] | None = None  # the hook puts a checkpoint's state here
        self._position = 0  # batches of the epoch that were taken before this process started
        self._epoch: int
        self._iter: int
        self._batches: Iterator[Any]
        self._alpha_batches: Iterator[Any]

    def run(self) -> nn.Module:
        self._require_search()
        with self._stop:
            self.runner.call_hook('before_train')
            try:
                self._start()
                while self._epoch < self._max_epochs and not self.stop_training:
                    self.run_epoch()
                    self._validate()
            finally:
                self._batches = self._alpha_batches = iter(())  # ends the workers
            self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """One pass over trainA, or what is left of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        position, self._position = self._position, 0
        for index in range(position, len(self.dataloader)):
            self.run_iter(index, next(self._batches), next(self._alpha_batches))
        if self.runner.distributed:
            require_one_alpha(unwrapped(self.runner.model).alphas, self._epoch + 1)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Any, alpha_batch: Any) -> None:
        """One step on alpha, one on the weights."""
        self.runner.call_hook('before_train_iter', batch_idx=idx, data_batch=data_batch)
        alpha_outputs, stop = self.alpha_step(alpha_batch, data_batch)
        outputs = self.runner.model.train_step(data_batch, optim_wrapper=self.runner.optim_wrapper['weights'])
        outputs.update({f'alpha_{name}': value for name, value in alpha_outputs.items()})
        self.runner.call_hook('after_train_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs)
        self._iter += 1
        if stop or (self.asked_to_stop and not self.runner.distributed):
            self._save_and_leave()

    def alpha_step(self, data: Any, train_data: Any = None) -> tuple[dict, bool]:
        """Descend alpha on the loss of one batch of trainB.

        Args:
            data: of trainB.
            train_data: of trainA, for the virtual step of the second order.

        Returns:
            What to log, and whether a rank was asked to stop, which all ranks learn here.
        """
        runner, model = self.runner, unwrapped(self.runner.model)
        outputs, stop = self.descent.step(
            model,
            runner.optim_wrapper,
            data,
            train_data,
            distributed=runner.distributed,
            flag=self.asked_to_stop,
        )
        self._require_finite(model.alphas, outputs)
        return outputs, stop

    @property
    def asked_to_stop(self) -> bool:
        """Whether this process received SIGTERM."""
        return self._stop.made

    def sampler_seeds(self) -> list[int | None]:
        """Of trainA's and trainB's order."""
        return [getattr(loader.sampler, 'seed', None) for loader in (self.dataloader, self.alpha_dataloader)]

    def _compile_cells(self, runner: Runner) -> None:
        options = runner.cfg.pop('compile', False)  # or mmengine would act on it
        if options is True:
            options = {}
        if options is False or options is None:
            return
        if not isinstance(options, dict):
            raise ValueError(f'compile must be True, False or a dict of options of torch.compile, not {options!r}.')
        if self.descent.exact:
            raise ValueError(
                "train_cfg.hessian='exact' differentiates twice, which torch.compile cannot: set compile=False, or "
                "hessian='finite_difference'."
            )
        model = unwrapped(runner.model)
        if isinstance(model, SearchModel):  # anything else run() refuses
            model.compile_cells(**options)
            runner.logger.info('The cells are compiled: the first iteration takes minutes.')

    def _require_search(self) -> None:
        model, wrappers = unwrapped(self.runner.model), self.runner.optim_wrapper
        if not isinstance(model, SearchModel):
            raise TypeError(
                f"A search needs model=dict(type='mmhoga.SearchModel', architecture=...), not {type(model).__name__}."
            )
        if not isinstance(wrappers, OptimWrapperDict) or set(wrappers.keys()) != {'weights', 'alpha'}:
            raise TypeError(
                "A search needs optim_wrapper=dict(constructor='mmhoga.SearchOptimWrapperConstructor', weights=..., "
                'alpha=...).'
            )

    def _start(self) -> None:
        """Take up the data, and everything else, where the checkpoint left it."""
        runner, state = self.runner, self.resumed
        length, ours = len(self.dataloader), len(self.alpha_dataloader)
        if state is not None:
            self._position = self._iter - self._epoch * state['batches_per_epoch']
            if state['batches_per_epoch'] != length or len(state['processes']) != runner.world_size:
                self._accept_another_batch(state)
            for loader, seed in zip((self.dataloader, self.alpha_dataloader), state['sampler_seeds']):
                if seed is not None:
                    loader.sampler.seed = seed
        for wrapper in runner.optim_wrapper.values():  # OptimWrapperDict leaves this to us
            wrapper.initialize_count_status(runner.model, 0, self._max_iters)
            wrapper._inner_count = self._iter  # said this way, it warns of gradients lost, which are not
        if ours < length:
            runner.logger.info(f'trainB has {ours} batches, trainA {length}: trainB is shuffled again within an epoch.')
        elif ours > length:
            runner.logger.info(
                f'trainB has {ours} batches, trainA {length}: an epoch sees {length} of trainB, drawn anew.'
            )
        kwargs: dict[str, Any] = dict(seed=runner.seed, epochs=self._max_epochs, length=length)
        streams = (
            BatchStream(self.dataloader, 'trainA', **kwargs),
            BatchStream(self.alpha_dataloader, 'trainB', **kwargs),
        )
        self._batches, self._alpha_batches = (stream.start(self._epoch, self._position) for stream in streams)
        if state is not None:
            set_process_state(runner, state['processes'][runner.rank % len(state['processes'])])
            self.resumed = None
            if self._epoch and not self._position:
                self._validate()  # the checkpoint was written before it

    def _accept_another_batch(self, state: dict[str, Any]) -> None:
        was = f'{len(state["processes"])} processes with {state["batches_per_epoch"]} batches an epoch'
        now = f'{self.runner.world_size} with {len(self.dataloader)}'
        if self._position:
            raise SearchError(
                f'this checkpoint is of the middle of an epoch of {was}, which has no counterpart in {now}. Go on as '
                'it was, or from a checkpoint of the end of an epoch (--resume CHECKPOINT).'
            )
        self._iter = self._epoch * len(self.dataloader)
        self.runner.logger.warning(
            f'The search was run by {was}, and goes on with {now}: not exactly as it would have.'
        )

    def _validate(self) -> None:
        self._decide_current_val_interval()
        if (
            self.runner.val_loop is not None
            and self._epoch >= self.val_begin
            and (self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs)
        ):
            self.runner.val_loop.run()

    def _save_and_leave(self) -> None:
        name = self._checkpoint.save_interrupted(self.runner)
        self.runner.logger.info(f'SIGTERM: saved {name} in the middle of an epoch; --resume goes on exactly there.')
        raise SystemExit(EXIT_STOPPED)

    def _require_finite(self, alphas: tuple, outputs: dict) -> None:
        if not all(math.isfinite(float(alpha.detach().sum())) for alpha in alphas):
            loss = float(outputs.get('loss', math.nan))
            raise SearchError(
                f'alpha is not finite after iteration {self._iter + 1} (epoch {self._epoch + 1}); the loss on trainB '
                f'was {loss:g}. The checkpoint and the genotype of the epoch before are as they were. Lower the '
                'learning rates, or clip gradients (optim_wrapper.*.clip_grad).'
            )
