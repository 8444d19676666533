"""Architecture gradients of the bilevel problem (Eq. 15), as functions of losses and tensors.

The first order takes the weights as they are. The second order (DARTS, https://arxiv.org/abs/1806.09055, section 2.3)
moves them by one virtual step of their optimizer, and differentiates through that step:

    w' = w - xi (mu m + dL_train(w, alpha)/dw + lambda w)
    dL_val(w', alpha)/dalpha - xi d2L_train(w, alpha)/dalpha dw . dL_val(w', alpha)/dw'

with the current learning rate xi, momentum mu, momentum buffer m and weight decay lambda of each parameter group of the
optimizer. Afterwards weights and buffers are restored bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Callable

import torch
from torch import Tensor

HESSIANS = ('finite_difference', 'exact')

Loss = Callable[[], Tensor]


def first_order(
    val_loss: Loss, alphas: Sequence[Tensor], *, loss_scale: Tensor | None = None
) -> tuple[Tensor, list[Tensor]]:
    """``dL_val(w, alpha)/dalpha``: the loss, and one gradient for each of ``alphas``."""
    loss = val_loss()
    return loss.detach(), _or_zeros(gradients(loss, alphas, loss_scale), alphas)


def second_order(
    train_loss: Loss,
    val_loss: Loss,
    alphas: Sequence[Tensor],
    optimizer: torch.optim.Optimizer,
    *,
    hessian: str = 'finite_difference',
    radius: float = 0.01,
    buffers: Iterable[Tensor] = (),
    average: Callable[[list[Tensor]], Any] | None = None,
    frozen_weights: Callable[[], AbstractContextManager] = nullcontext,
    loss_scale: Tensor | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """The gradient of ``L_val`` after a virtual step of the weights on ``L_train``.

    Args:
        train_loss, val_loss: each evaluates its loss at the current weights and alphas. The training loss is evaluated
            up to three times, and draws the same random numbers (of torch) each time.
        alphas: the tensors to differentiate by.
        optimizer: that of the weights.
        hessian: the way to compute the product of the mixed second derivative with a vector v.
            ``'finite_difference'`` takes two gradients by alpha, at ``w + eps v`` and ``w - eps v`` with
            ``eps = radius / ||v||``; its error is of order ``eps^2``. ``'exact'`` differentiates twice, and needs
            memory for the graph of the gradient.
        radius: 0.01 in DARTS.
        buffers: restored at the end (running statistics of batch norm).
        average: averages weight gradients over processes, in place, so that the virtual step is that of the joint
            batch. Without it the step is that of this process's batch.
        frozen_weights: a context in which the weights require no gradient, for passes that need only alpha's.
        loss_scale: factor on losses while differentiating, of dimension 0, against underflow in half precision;
            gradients are divided by it.

    Returns:
        ``L_val(w', alpha)``, and one gradient for each of ``alphas``.

    Raises:
        TypeError: the optimizer is not ``torch.optim.SGD``, or maximises.
        ValueError: an unknown ``hessian``.
    """
    if hessian not in HESSIANS:
        raise ValueError(f'hessian must be one of {", ".join(HESSIANS)}, not {hessian!r}.')
    exact = hessian == 'exact'
    weights = [w for group in optimizer.param_groups for w in group['params'] if w.requires_grad]
    train_loss = _with_fixed_random_numbers(train_loss, alphas[0].device)
    with _restored(buffers):
        slopes = gradients(train_loss(), weights, loss_scale, create_graph=exact)
        used = [slope is not None for slope in slopes]
        weights, slopes = ([x for x, u in zip(xs, used) if u] for xs in (weights, slopes))
        values = [slope.detach().clone() if average else slope.detach() for slope in slopes]
        if average:
            average(values)
        steps, rates = sgd_step(optimizer, weights, values)
        with _restored(weights):
            shift(weights, steps, -1)
            loss = val_loss()
            both = [*alphas, *weights]
            both = _or_zeros(gradients(loss, both, loss_scale), both)
        direct, vector = both[: len(alphas)], both[len(alphas) :]
        if average:
            average(vector)
        # Learning rates may differ between groups: scale each part of the vector by its rate over the greatest.
        greatest = max(rates, default=0.0)
        if greatest:
            vector = [v if rate == greatest else v * (rate / greatest) for v, rate in zip(vector, rates)]
            if exact:
                mixed = _mixed_product(slopes, alphas, vector)
            else:
                with frozen_weights():
                    mixed = _finite_difference(train_loss, alphas, weights, vector, radius, loss_scale)
            direct = [d - greatest * m for d, m in zip(direct, _or_zeros(mixed, alphas))]
    return loss.detach(), direct


def sgd_step(
    optimizer: torch.optim.Optimizer, weights: Sequence[Tensor], slopes: Sequence[Tensor]
) -> tuple[list[Tensor], list[float]]:
    """The update that ``optimizer.step()`` would subtract from ``weights`` with the gradients ``slopes``.

    Also its derivative by the gradient, one number per weight: the learning rate, changed by dampening and by
    Nesterov's momentum.
    """
    if not isinstance(optimizer, torch.optim.SGD) or optimizer.defaults.get('maximize'):
        raise TypeError(
            'A second-order search needs a minimising SGD as optimizer of the weights, not '
            f"{type(optimizer).__name__}: use optimizer=dict(type='SGD', ...) for the weights, or order=1."
        )
    group_of = {id(weight): group for group in optimizer.param_groups for weight in group['params']}
    steps, rates = [], []
    for weight, slope in zip(weights, slopes):
        group = group_of[id(weight)]
        lr, momentum = float(group['lr']), group['momentum']
        step, rate = slope + group['weight_decay'] * weight.detach(), 1.0
        if momentum:
            buffer = optimizer.state[weight].get('momentum_buffer')  # none before the first step
            decayed, rate = step, 1.0
            if buffer is not None:
                rate = 1.0 - group['dampening']
                decayed = momentum * buffer + rate * step
            step, rate = (step + momentum * decayed, 1 + momentum * rate) if group['nesterov'] else (decayed, rate)
        steps.append(lr * step)
        rates.append(lr * rate)
    return steps, rates


def shift(weights: Sequence[Tensor], directions: Sequence[Tensor], scale: float) -> None:
    """``w += scale * direction``, in place."""
    for weight, direction in zip(weights, directions):
        weight.data.add_(direction, alpha=scale)


def gradients(
    loss: Tensor, inputs: Sequence[Tensor], loss_scale: Tensor | None = None, *, create_graph: bool = False
) -> list:
    """Gradients as new tensors, apart from any ``.grad``; None for an input that the loss does not depend on."""
    scaled = loss if loss_scale is None else loss * loss_scale
    result = torch.autograd.grad(scaled, inputs, allow_unused=True, create_graph=create_graph)
    return [g if g is None or loss_scale is None else g / loss_scale for g in result]


def quotient(plus: Sequence[Tensor | None], minus: Sequence[Tensor | None], eps: Tensor) -> list[Tensor | None]:
    """``(plus - minus) / (2 eps)``."""
    return [None if p is None or m is None else (p - m) / (2 * eps) for p, m in zip(plus, minus)]


def _mixed_product(slopes: Sequence[Tensor], alphas: Sequence[Tensor], vector: Sequence[Tensor]) -> Sequence:
    pairs = [(s, v) for s, v in zip(slopes, vector) if s.requires_grad]  # a slope may be constant
    if not pairs:
        return [None] * len(alphas)
    outputs, along = zip(*pairs)
    return torch.autograd.grad(outputs, alphas, along, allow_unused=True)


def _finite_difference(
    train_loss: Loss,
    alphas: Sequence[Tensor],
    weights: Sequence[Tensor],
    vector: Sequence[Tensor],
    radius: float,
    loss_scale: Tensor | None,
) -> list[Tensor | None]:
    norm = torch.stack([v.double().norm() for v in vector]).norm()
    # A tensor, so that the host does not wait. At a minimum of the validation loss the norm is 0, and so is the result.
    eps = radius / (norm + (norm == 0))
    steps = [eps * v for v in vector]
    sides = []
    for sign in (1, -1):
        with _restored(weights):
            shift(weights, steps, sign)
            sides.append(gradients(train_loss(), alphas, loss_scale))
    return quotient(sides[0], sides[1], eps)


def _or_zeros(gradients: Sequence[Tensor | None], inputs: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(x) if gradient is None else gradient for gradient, x in zip(gradients, inputs)]


@contextmanager
def _restored(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Restore the tensors at the end, also after an exception.

    Writes through ``.data``, so that graphs built before remain usable.
    """
    saved = [(tensor, tensor.detach().clone()) for tensor in tensors]
    try:
        yield
    finally:
        for tensor, before in saved:
            tensor.data.copy_(before)


def _with_fixed_random_numbers(loss: Loss, device: torch.device) -> Loss:
    """Make every evaluation draw the random numbers of the first.

    Otherwise dropout, or a detector's sampling of proposals, would exceed the difference between two losses.
    """
    modules: list[Any] = [torch.random] if device.type == 'cpu' else [torch.random, getattr(torch, device.type)]
    first: list[Tensor] = []

    def evaluate() -> Tensor:
        now = [module.get_rng_state() for module in modules]
        for module, state in zip(modules, first):
            module.set_rng_state(state)
        value = loss()
        if first:
            for module, state in zip(modules, now):
                module.set_rng_state(state)
        else:
            first.extend(now)
        return value

    return evaluate
