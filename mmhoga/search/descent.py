"""The step on alpha: from one batch of trainB, and one of trainA for the second order, to an update."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import all_gather, all_reduce_params, get_world_size
from mmengine.optim import OptimWrapperDict
from torch import Tensor

from mmhoga.search import bilevel
from mmhoga.search.model import SearchModel
from mmhoga.search.resume.state import SearchError


class AlphaDescent:
    """Descends alpha on the loss of a batch of trainB. :class:`mmhoga.search.SearchLoop` documents the arguments.

    Raises:
        ValueError: an unknown ``order``, ``hessian`` or ``unroll``.
    """

    def __init__(self, order: int = 1, hessian: str = 'finite_difference', unroll: str = 'local') -> None:
        for name, value, allowed in (
            ('order', order, (1, 2)),
            ('hessian', hessian, bilevel.HESSIANS),
            ('unroll', unroll, ('local', 'joint')),
        ):
            if value not in allowed:
                raise ValueError(f'train_cfg.{name} must be one of {allowed}, not {value!r}.')
        self.order, self.hessian, self.unroll = order, hessian, unroll

    @property
    def differentiates_twice(self) -> bool:
        """Whether the step needs the second derivative of the training loss from autograd."""
        return self.order == 2 and self.hessian == 'exact'

    def step(self, model: SearchModel, wrappers: OptimWrapperDict, data: Any, train_data: Any) -> dict[str, Any]:
        """Update alpha, or accumulate its gradient, by the settings of ``wrappers['alpha']``.

        Several processes average alpha's gradient just before the update.

        Args:
            model: without its DistributedDataParallel.
            wrappers: those of the weights and of alpha.
            data: a batch of trainB.
            train_data: a batch of trainA, for the virtual step of the second order.

        Returns:
            The values to log.
        """
        wrapper = wrappers['alpha']
        with model.differentiating_alpha() as alphas:
            gradients, outputs = self._gradients(model, alphas, wrappers, data, train_data)
            # A loss with exactly these gradients, so that the wrapper accumulates, scales and clips as usual.
            loss = sum((alpha * gradient).sum() for alpha, gradient in zip(alphas, gradients))
            wrapper.backward(wrapper.scale_loss(loss), inputs=list(alphas))
            if wrapper.should_update():  # inside the context: mmengine clips only what requires a gradient
                all_reduce_params([alpha.grad for alpha in alphas if alpha.grad is not None], op='mean')
                wrapper.step()
                wrapper.zero_grad()
        return outputs

    def _gradients(
        self, model: SearchModel, alphas: Sequence[Tensor], wrappers: OptimWrapperDict, data: Any, train_data: Any
    ) -> tuple[list[Tensor], dict[str, Any]]:
        outputs: dict[str, Any] = {}

        def val_loss() -> Tensor:
            with wrappers['alpha'].optim_context(model):
                loss, log = model.alpha_loss(data)
            outputs.update(log)
            return loss

        def train_loss() -> Tensor:
            with wrappers['weights'].optim_context(model):
                return model.loss(train_data)[0]

        scaler = getattr(wrappers['alpha'], 'loss_scaler', None)
        loss_scale = 1.0 if scaler is None else float(scaler.get_scale())
        if self.order == 1:
            with model.frozen_weights():
                return bilevel.first_order(val_loss, alphas, loss_scale=loss_scale)[1], outputs
        joint = self.unroll == 'joint' and get_world_size() > 1
        _, gradients = bilevel.second_order(
            train_loss,
            val_loss,
            alphas,
            wrappers['weights'].optimizer,
            hessian=self.hessian,
            buffers=model.buffers(),
            average=(lambda tensors: all_reduce_params(tensors, op='mean')) if joint else None,
            frozen_weights=model.frozen_weights,
            loss_scale=loss_scale,
        )
        return gradients, outputs


def require_equal_alpha(alphas: Sequence[Tensor], epoch: int) -> None:
    """Compare a checksum of alpha between the processes.

    Raises:
        SearchError: in every process, if the checksums differ.
    """
    checksum = 0
    for alpha in alphas:
        checksum = zlib.crc32(alpha.detach().cpu().contiguous().numpy().tobytes(), checksum)
    checksums = [int(each) for each in all_gather(torch.tensor(checksum, device=alphas[0].device))]
    if len(set(checksums)) > 1:
        raise SearchError(
            f'alpha differs between the processes at the end of epoch {epoch} (checksums {checksums}). The last '
            'checkpoint is from the epoch before: resume from it with --resume.'
        )
