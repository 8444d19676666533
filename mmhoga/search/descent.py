"""The two optimizers of a search, and the step on alpha."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dist import all_gather, all_reduce_params, get_world_size
from mmengine.optim import OptimWrapper, OptimWrapperDict, build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmhoga.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmhoga.search import bilevel
from mmhoga.search.graphs import CapturedGradients
from mmhoga.search.model import SearchModel, unwrapped
from mmhoga.search.records.hub import defer_gradient_norm
from mmhoga.search.resume.state import SearchError

#: The values allowed in ``train_cfg``.
CHOICES = {'order': (1, 2), 'hessian': bilevel.HESSIANS, 'unroll': ('local', 'joint')}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class SearchOptimWrapperConstructor:
    """Builds ``OptimWrapperDict(weights=..., alpha=...)``.

    Example:
        >>> optim_wrapper = dict(
        ...     constructor='mmhoga.SearchOptimWrapperConstructor',
        ...     weights=dict(optimizer=dict(type='SGD', lr=0.025, momentum=0.9, weight_decay=3e-4)),
        ...     alpha=dict(optimizer=dict(type='Adam', lr=3e-3, betas=(0.5, 0.999), weight_decay=1e-3)))

    Args:
        optim_wrapper_cfg: ``weights`` and ``alpha``, each an ``optim_wrapper`` of mmengine (``type``, ``optimizer``,
            ``clip_grad``, ``accumulative_counts``, ...); ``weights`` may have a ``constructor`` and ``paramwise_cfg``.

    Raises:
        ValueError: other keys, or a model without alpha.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        # The base config of a host may leave its scope in the dict.
        optim_wrapper_cfg = {key: value for key, value in optim_wrapper_cfg.items() if key != '_scope_'}
        if set(optim_wrapper_cfg) != {'weights', 'alpha'} or paramwise_cfg:
            raise ValueError(
                'A search has two optimizers: optim_wrapper must hold "weights" and "alpha" beside "constructor" '
                f'("paramwise_cfg" belongs inside "weights"), but it holds {sorted(optim_wrapper_cfg)}.'
            )
        self.cfg = optim_wrapper_cfg

    def __call__(self, model: nn.Module) -> OptimWrapperDict:
        model = unwrapped(model)
        alphas = getattr(model, 'alphas', None)
        if not alphas:
            raise ValueError(
                f"{type(model).__name__} has no alpha to search; wrap it: model=dict(type='mmhoga.SearchModel', "
                'architecture=dict(...)).'
            )
        weights = build_optim_wrapper(model, self.cfg['weights'].copy())
        architecture = {id(alpha) for alpha in alphas}
        for group in weights.optimizer.param_groups:
            group['params'] = [parameter for parameter in group['params'] if id(parameter) not in architecture]
        weights.optimizer.param_groups[:] = [group for group in weights.optimizer.param_groups if group['params']]
        defer_gradient_norm(weights)
        cfg = self.cfg['alpha'].copy()
        cfg.setdefault('type', 'OptimWrapper')
        cfg['optimizer'] = OPTIMIZERS.build({**cfg['optimizer'], 'params': list(alphas)})
        alpha = OPTIM_WRAPPERS.build(cfg)
        defer_gradient_norm(alpha)
        return OptimWrapperDict(weights=weights, alpha=alpha)


def descend_alpha(
    model: SearchModel,
    wrappers: OptimWrapperDict,
    data: Any,
    train_data: Any,
    *,
    order: int,
    hessian: str,
    unroll: str,
    captured: CapturedGradients | None = None,
) -> dict[str, Any]:
    """Update alpha, or accumulate its gradient, by the settings of ``wrappers['alpha']``.

    Several processes average alpha's gradient just before the update.

    Args:
        model: without its DistributedDataParallel.
        wrappers: those of the weights and of alpha.
        data: a batch of trainB.
        train_data: a batch of trainA, for the virtual step of the second order.
        order, hessian, unroll: see :class:`mmhoga.search.SearchLoop`.
        captured: :func:`first_order_gradients` as a CUDA graph.

    Returns:
        The values to log.
    """
    wrapper = wrappers['alpha']
    if captured is not None:
        outputs, gradients = captured(data)
    elif order == 1:
        outputs, gradients = first_order_gradients(model, wrapper, data)
    else:
        outputs, gradients = _second_order_gradients(model, wrappers, data, train_data, hessian, unroll)
    with model.differentiating_alpha() as alphas:
        # A loss with exactly these gradients, so that the wrapper accumulates, scales and clips as usual.
        loss = sum((alpha * gradient).sum() for alpha, gradient in zip(alphas, gradients))
        wrapper.backward(wrapper.scale_loss(loss), inputs=list(alphas))
        if wrapper.should_update():  # inside the context: mmengine clips only what requires a gradient
            all_reduce_params([alpha.grad for alpha in alphas if alpha.grad is not None], op='mean')
            wrapper.step()
            wrapper.zero_grad()
    return outputs


def first_order_gradients(
    model: SearchModel, wrapper: OptimWrapper, data: Any, **options: Any
) -> tuple[dict[str, Any], list[Any]]:
    """The values to log, and the gradient of each alpha. The statistics of batch norms stay as they are."""
    outputs: dict[str, Any] = {}
    val_loss = _loss_on_trainb(model, wrapper, data, outputs, **options)
    with model.differentiating_alpha() as alphas, model.frozen_weights(), unchanged_statistics(model):
        _, gradients = bilevel.first_order(val_loss, alphas, loss_scale=_loss_scale(wrapper, alphas[0]))
    return outputs, gradients


def _second_order_gradients(
    model: SearchModel, wrappers: OptimWrapperDict, data: Any, train_data: Any, hessian: str, unroll: str
) -> tuple[dict[str, Any], list[Any]]:
    outputs: dict[str, Any] = {}

    def train_loss() -> Tensor:
        with wrappers['weights'].optim_context(model):
            return model.loss(train_data)[0]

    joint = unroll == 'joint' and get_world_size() > 1
    with model.differentiating_alpha() as alphas:
        _, gradients = bilevel.second_order(
            train_loss,
            _loss_on_trainb(model, wrappers['alpha'], data, outputs),
            alphas,
            wrappers['weights'].optimizer,
            hessian=hessian,
            buffers=model.buffers(),
            average=(lambda tensors: all_reduce_params(tensors, op='mean')) if joint else None,
            frozen_weights=model.frozen_weights,
            loss_scale=_loss_scale(wrappers['alpha'], alphas[0]),
        )
    return outputs, gradients


def _loss_on_trainb(
    model: SearchModel, wrapper: OptimWrapper, data: Any, outputs: dict[str, Any], **options: Any
) -> Callable[[], Tensor]:
    def val_loss() -> Tensor:
        with wrapper.optim_context(model):
            loss, log = model.alpha_loss(data, **options)
        outputs.update(log)
        return loss

    return val_loss


def _loss_scale(wrapper: OptimWrapper, alpha: Tensor) -> Tensor | None:
    """The loss scale as a tensor: ``GradScaler.get_scale()`` would wait for the device."""
    scaler = getattr(wrapper, 'loss_scaler', None)
    return None if scaler is None else scaler.scale(torch.ones((), device=alpha.device))


def weight_gradients(model: SearchModel, wrapper: OptimWrapper, batch: Any) -> tuple[dict[str, Any], list[Any]]:
    """The values to log of a preprocessed batch, and the scaled gradient of each of :func:`trained`."""
    with wrapper.optim_context(model):
        loss, log = model.loss(batch, preprocessed=True)
    loss = wrapper.scale_loss(loss)
    scaler = getattr(wrapper, 'loss_scaler', None)
    loss = loss if scaler is None else scaler.scale(loss)
    return log, list(torch.autograd.grad(loss, trained(wrapper), allow_unused=True))


def descend_weights(wrapper: OptimWrapper, gradients: Sequence[Tensor | None]) -> None:
    """Update the weights by :func:`weight_gradients`, as ``wrapper.update_params`` does after its backward pass."""
    for weight, gradient in zip(trained(wrapper), gradients):
        weight.grad = gradient
    wrapper._inner_count += 1
    wrapper.step()
    wrapper.zero_grad()


def trained(wrapper: OptimWrapper) -> list[Tensor]:
    """The weights that require a gradient."""
    return [weight for group in wrapper.optimizer.param_groups for weight in group['params'] if weight.requires_grad]


@contextmanager
def unchanged_statistics(model: nn.Module) -> Iterator[None]:
    """Context in which forward passes in training mode leave the statistics of batch norms as they are.

    Batches are normalised by their own statistics, as in training. Nothing is copied: the running averages are updated
    with the weight 0, and a counter that is thrown away takes the place of ``num_batches_tracked``.
    """
    norms: list[Any] = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    saved = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    scratch = next((torch.zeros_like(counter) for _, counter in saved if counter is not None), None)
    for norm in norms:
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked = scratch
    try:
        yield
    finally:
        for norm, (momentum, counter) in zip(norms, saved):
            norm.momentum, norm.num_batches_tracked = momentum, counter


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
