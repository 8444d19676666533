"""The step on alpha: from a batch of each half to an update, by the first or the second order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.optim import OptimWrapperDict
from torch import Tensor

from mmhoga.search import bilevel
from mmhoga.search.model import SearchModel
from mmhoga.search.resume.processes import average


class AlphaDescent:
    """Args as :class:`SearchLoop` has them.

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
    def exact(self) -> bool:
        """Whether losses are differentiated twice."""
        return self.order == 2 and self.hessian == 'exact'

    def step(
        self,
        model: SearchModel,
        wrappers: OptimWrapperDict,
        data: Any,
        train_data: Any,
        *,
        distributed: bool = False,
        flag: bool = False,
    ) -> tuple[dict, bool]:
        """Descend alpha on the loss of ``data``, of trainB; ``train_data``, of trainA, is for the virtual step.

        Returns:
            What to log, and, if alpha moved in several processes, whether any of them passed a ``flag``.
        """
        wrapper, flagged = wrappers['alpha'], False
        with model.differentiating_alpha() as alphas:
            found, outputs = self._gradients(model, alphas, wrappers, data, train_data, distributed)
            # A loss with these gradients: it goes the wrapper's way of accumulating, scaling and clipping.
            loss = sum((alpha * gradient).sum() for alpha, gradient in zip(alphas, found))
            wrapper.backward(wrapper.scale_loss(loss), inputs=list(alphas))
            if wrapper.should_update():  # in here: mmengine clips what requires a gradient
                if distributed:
                    flagged = average([alpha.grad for alpha in alphas if alpha.grad is not None], flag)
                wrapper.step()
                wrapper.zero_grad()
        return outputs, flagged

    def _gradients(
        self,
        model: SearchModel,
        alphas: Sequence[Tensor],
        wrappers: OptimWrapperDict,
        data: Any,
        train_data: Any,
        distributed: bool,
    ) -> tuple[list[Tensor], dict]:
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
        scale = 1.0 if scaler is None else float(scaler.get_scale())
        if self.order == 1:
            with model.frozen_weights():
                return bilevel.first_order(val_loss, alphas, loss_scale=scale)[1], outputs
        _, found = bilevel.second_order(
            train_loss,
            val_loss,
            alphas,
            wrappers['weights'].optimizer,
            hessian=self.hessian,
            buffers=model.buffers(),
            average=average if distributed and self.unroll == 'joint' else None,
            frozen_weights=model.frozen_weights,
            loss_scale=scale,
        )
        return found, outputs
