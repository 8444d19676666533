"""The bilevel loop (section 3.3): alpha on trainB, weights on trainA, in turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.dist import all_reduce
from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from mmhoga.registry import LOOPS
from mmhoga.search.model import SearchModel, unwrapped


@LOOPS.register_module()
class SearchLoop(EpochBasedTrainLoop):
    """First-order alternating gradient descent on Eq. (15).

    Each iteration updates alpha by the loss on a batch of trainB, then the weights by the loss on a batch of trainA. An
    epoch is one pass over trainA; trainB is shuffled anew for each, and again whenever it ends earlier.

    The step on alpha differentiates by alpha alone, and under DistributedDataParallel averages that gradient over the
    ranks itself: no weight gradient is computed or communicated in it.

    Args:
        runner: mmengine's.
        dataloader: trainA (the config's ``train_dataloader``).
        alpha_dataloader: trainB.
        max_epochs, val_begin, val_interval, dynamic_intervals: as in ``EpochBasedTrainLoop``.

    Raises:
        TypeError: the model is no :class:`SearchModel`, or ``optim_wrapper`` is not that of
            :class:`SearchOptimWrapperConstructor`.
        ValueError: trainA or trainB yields no batch.
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
    ) -> None:
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

    def run(self) -> nn.Module:
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
        for wrapper in wrappers.values():  # OptimWrapperDict leaves this to us
            wrapper.initialize_count_status(self.runner.model, self._iter, self._max_iters)
        return super().run()

    def run_epoch(self) -> None:
        """One pass over trainA."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for index, (data, alpha_data) in enumerate(zip(self.dataloader, self._alpha_batches())):
            self.run_iter(index, data, alpha_data)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Any, alpha_batch: Any) -> None:
        """One step on alpha, one on the weights."""
        self.runner.call_hook('before_train_iter', batch_idx=idx, data_batch=data_batch)
        alpha_outputs = self.alpha_step(alpha_batch)
        outputs = self.runner.model.train_step(data_batch, optim_wrapper=self.runner.optim_wrapper['weights'])
        outputs.update({f'alpha_{name}': value for name, value in alpha_outputs.items()})
        self.runner.call_hook('after_train_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs)
        self._iter += 1

    def alpha_step(self, data: Any) -> dict:
        """Descend alpha on the loss of one batch of trainB; returns what to log."""
        model, wrapper = unwrapped(self.runner.model), self.runner.optim_wrapper['alpha']
        with model.differentiating_alpha() as alphas, model.frozen_weights():
            with wrapper.optim_context(model):
                loss, outputs = model.alpha_loss(data)
            wrapper.backward(wrapper.scale_loss(loss), inputs=list(alphas))
        if wrapper.should_update():
            for alpha in alphas:
                all_reduce(alpha.grad, op='mean')
            wrapper.step()
            wrapper.zero_grad()
        return outputs

    def _alpha_batches(self) -> Iterator[Any]:
        """trainB without end; a function of the epoch alone, so that a resumed run sees the same."""
        sampler = getattr(self.alpha_dataloader.sampler, 'set_epoch', None)
        for passes in range(self._max_iters):
            if sampler is not None:
                sampler(self._epoch + passes * self._max_epochs)
            yield from self.alpha_dataloader
