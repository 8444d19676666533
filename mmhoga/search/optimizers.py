"""The two optimizers of a search: one for the weights, one for alpha."""

from __future__ import annotations

from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from mmhoga.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmhoga.search.model import unwrapped


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
        cfg = self.cfg['alpha'].copy()
        cfg.setdefault('type', 'OptimWrapper')
        cfg['optimizer'] = OPTIMIZERS.build({**cfg['optimizer'], 'params': list(alphas)})
        return OptimWrapperDict(weights=weights, alpha=OPTIM_WRAPPERS.build(cfg))
