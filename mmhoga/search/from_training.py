"""The config of a search from the config of a training."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from mmhoga.search.resume.state import SearchError
from mmhoga.search.stretch import Stretch
from mmhoga.search.supernets import has_cells, is_of_kind
from mmhoga.search.training_hooks import bare_name, set_epochs, set_hooks

EPOCHS = 100  # section 4.2
BASE_BATCH_SIZE = 128  # section 4.2; the learning rate is for it


def _log(note: str) -> None:
    print_log(note, logger='current')


def search_config(
    training: Config,
    *,
    epochs: int | None = None,
    num_groups: int | None = None,
    primitives: Sequence[str] | None = None,
    alpha_per: str = 'model',
    stage_pattern: str | None = None,
    val_loss: bool = False,
    cost: Mapping[str, Any] | None = None,
    placement: Mapping[str, Any] | None = None,
    fraction: float = 0.5,
    split_seed: int = 0,
    seed: int | None = None,
    batch_size: int | None = None,
    alpha_batch_size: int | None = None,
    optimizer: str = 'paper',
    lr: float = 0.025,
    min_lr: float = 1e-3,
    momentum: float = 0.9,
    weight_decay: float = 3e-4,
    clip_grad: float | None = 5.0,
    alpha_lr: float = 3e-3,
    alpha_betas: Sequence[float] = (0.5, 0.999),
    alpha_weight_decay: float = 1e-3,
    order: int = 1,
    hessian: str = 'finite_difference',
    unroll: str = 'local',
    warmup_epochs: int = 0,
    temperature: float | Mapping[str, Any] = 1.0,
    sampling: str = 'softmax',
    selection: Mapping[str, Any] | None = None,
    log: Callable[[str], object] = _log,
) -> Config:
    """The config of a search (section 4.2) in the network and on the data of a training.

    The HOGA cells of the model become supernets. The training set is split into trainA and trainB, inside wrappers
    such as RepeatDataset. These parts of the training stay as they are: the pipelines and ``batch_augments`` (mixup),
    for both halves; validation and test; ``load_from``; mixed precision; all hooks but those below.

    These change, each with a sentence for ``log``:

    - Iterations become epochs: a search is an EpochBasedTrainLoop, with a DefaultSampler in place of InfiniteSampler.
    - Hooks that average the weights (EMA), stop early, switch the mode of a detector, or save adapters are left out.
    - PipelineSwitchHook switches at the same share of the search as of the training.
    - ``auto_scale_lr`` refers to batches of 128 images, unless ``optimizer='training'``.
    - A checkpoint is written after each epoch. ``resume`` and ``work_dir`` are those of the training only.

    Args:
        training: of mmdet, mmpretrain, mmpose or another project of mmengine. It stays as it is.
        epochs: 100, or the number of the training with ``optimizer='training'``.
        num_groups, primitives, alpha_per, stage_pattern, val_loss, cost, placement: see
            :class:`mmhoga.search.SearchModel`.
        fraction: the share of samples in trainA.
        split_seed: of the split.
        seed: of the run; by default that of the training.
        batch_size: of trainA, per process; by default that of the training.
        alpha_batch_size: of trainB; by default that of trainA.
        optimizer: of the weights. ``'paper'``: SGD with cosine decay, from the arguments below. ``'training'``: that
            of the training, with its schedule, stretched to the epochs of the search.
        lr, min_lr, momentum, weight_decay: of SGD.
        clip_grad: the largest norm of the gradient of the weights, from the authors' code; None for no limit.
        alpha_lr, alpha_betas, alpha_weight_decay: of Adam on alpha, from the authors' code.
        order, hessian, unroll, warmup_epochs, temperature, sampling, selection: see
            :class:`mmhoga.search.SearchLoop`.
        log: a function that is called with each sentence; by default mmengine's log.

    Raises:
        SearchError: the config is no training, or one that cannot be searched; the message names the reason.

    Example:
        >>> from mmhoga.hosts import load_config
        >>> from mmhoga.search import search_config
        >>> config = search_config(load_config('hoga-resnet8_1xb96-8e_digits'), epochs=8, lr=0.1, alpha_lr=0.03)
        >>> config.train_cfg
        {'type': 'mmhoga.SearchLoop', 'max_epochs': 8, 'split': {'fraction': 0.5, 'seed': 0}, 'val_interval': 1}
    """
    _require_training(training)
    if optimizer not in ('paper', 'training'):
        raise SearchError(f"optimizer must be one of 'paper' and 'training', not {optimizer!r}.")
    config = copy.deepcopy(training)
    before = None if _counts_iterations(training) else training.train_cfg.max_epochs
    own = before if optimizer == 'training' else None
    total = epochs or own or EPOCHS
    batches = training.train_dataloader.get('batch_size', 1)
    stretch = None if before is None else Stretch(total, before, fraction * batches / (batch_size or batches))
    adam = dict(type='Adam', lr=alpha_lr, betas=tuple(alpha_betas), weight_decay=alpha_weight_decay)
    sgd = dict(lr=lr, momentum=momentum, weight_decay=weight_decay, clip_grad=clip_grad, min_lr=min_lr)

    space: dict[str, Any] = dict(num_groups=num_groups, primitives=primitives, alpha_per=alpha_per)
    space.update(stage_pattern=stage_pattern, val_loss=val_loss, cost=cost, placement=placement)
    config.model = ConfigDict(type='mmhoga.SearchModel', architecture=config.model, **_chosen(space))
    steps: dict[str, Any] = dict(order=order, hessian=hessian, unroll=unroll)
    steps.update(warmup_epochs=warmup_epochs, temperature=temperature, sampling=sampling, selection=selection)
    config.train_cfg = ConfigDict(
        type='mmhoga.SearchLoop',
        max_epochs=total,
        split=dict(fraction=fraction, seed=split_seed),
        **({} if alpha_batch_size is None else {'alpha_dataloader': dict(batch_size=alpha_batch_size)}),
        **_validation(training, total),
        **_chosen(steps),
    )
    if optimizer == 'paper':
        weights, schedulers = _paper_weights(training, total, **sgd)
        config.auto_scale_lr = ConfigDict(base_batch_size=BASE_BATCH_SIZE)
    else:
        weights, schedulers = _training_weights(training, stretch, _chosen(sgd))
    config.optim_wrapper = ConfigDict(
        constructor='mmhoga.SearchOptimWrapperConstructor',
        weights=weights,
        alpha=dict(_precision(training), optimizer=adam),
    )
    config.param_scheduler = ConfigDict(weights=schedulers)
    if batch_size is not None:
        config.train_dataloader.batch_size = batch_size
    if seed is not None:
        config.randomness = ConfigDict({**(config.get('randomness') or {}), 'seed': seed})
    config.pop('work_dir', None)
    if config.get('resume'):
        config.resume = False
    size = config.train_dataloader.get('batch_size', 1)
    if optimizer == 'paper' and size != BASE_BATCH_SIZE:
        log(
            f'The learning rate of the weights is for batches of {BASE_BATCH_SIZE} images, as in the paper; here a '
            f'process takes {size}. --auto-scale-lr scales it.'
        )
    for note in (*set_epochs(config, before), *set_hooks(config, stretch)):
        log(note)
    return config


#: The choices of a search and their defaults, which are the paper's.
DEFAULTS: dict[str, Any] = {
    name: parameter.default
    for name, parameter in inspect.signature(search_config).parameters.items()
    if name not in ('training', 'log')
}


def _chosen(choices: Mapping[str, Any]) -> dict[str, Any]:
    """The choices that are not the defaults."""
    return {name: value for name, value in choices.items() if value != DEFAULTS[name]}


def _require_training(training: Config) -> None:
    name = training.filename or 'the config'
    missing = [key for key in ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper') if not training.get(key)]
    if missing:
        raise SearchError(f'{name} is not the config of a training: it has no {", no ".join(missing)}.')
    if is_of_kind(training.model, 'SearchModel'):
        raise SearchError(f'{name} is the config of a search already: mmhoga train runs it.')
    if not (has_cells(training.model) or has_cells(training.model, 'SearchableHOGA')):
        raise SearchError(
            f'{name} has no cell of type mmhoga.HOGA that could be searched. Add one to plugins, or with '
            'mmhoga.Insert; mmhoga places lists where.'
        )
    if training.get('runner_type', 'Runner') != 'Runner' or training.get('strategy'):
        raise SearchError(f"{name} sets runner_type or strategy: a search needs mmengine's Runner. Remove them.")


def _counts_iterations(training: Config) -> bool:
    loop = training.train_cfg
    return bare_name(loop.get('type', '')) == 'IterBasedTrainLoop' or not loop.get('by_epoch', True)


def _validation(training: Config, epochs: int) -> dict[str, int]:
    """When the search validates, if it does: as the training, or after each epoch if that counts iterations."""
    loop = {} if _counts_iterations(training) else training.train_cfg
    settings = {'val_interval': loop.get('val_interval', 1)}
    if loop.get('val_begin', 1) > 1:
        settings['val_begin'] = min(loop['val_begin'], epochs)
    return settings


def _precision(training: Config) -> dict[str, Any]:
    """The settings of mixed precision."""
    kept = {key: training.optim_wrapper[key] for key in ('loss_scale', 'dtype') if key in training.optim_wrapper}
    is_mixed = bare_name(training.optim_wrapper.get('type', '')) == 'AmpOptimWrapper'
    return {'type': 'AmpOptimWrapper', **kept} if is_mixed else {'type': 'OptimWrapper'}


def _paper_weights(
    training: Config, epochs: int, *, clip_grad: float | None, min_lr: float | None, **sgd: float | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    wrapper = dict(_precision(training), optimizer=dict(type='SGD', **sgd))
    if clip_grad is not None:
        wrapper['clip_grad'] = dict(max_norm=clip_grad)
    return wrapper, [dict(type='CosineAnnealingLR', eta_min=min_lr, by_epoch=True, T_max=epochs)]


def _training_weights(
    training: Config, stretch: Stretch | None, chosen: Mapping[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if chosen:
        raise SearchError(f"{', '.join(chosen)}: set it in the training, or choose optimizer='paper'.")
    if stretch is None:
        raise SearchError(
            "optimizer='training': this training counts iterations, so that its schedule cannot be stretched to the "
            "epochs of a search. Choose optimizer='paper' and a learning rate."
        )
    wrapper = training.optim_wrapper
    constructor = bare_name(wrapper.get('constructor', 'DefaultOptimWrapperConstructor'))
    if 'optimizer' not in wrapper or constructor != 'DefaultOptimWrapperConstructor':
        kind = constructor if 'optimizer' in wrapper else 'several optimizers'
        raise SearchError(
            f"optimizer='training': this training uses {kind}, which needs the names of its own model, and not those "
            "of a search model. Choose optimizer='paper' and a learning rate."
        )
    return copy.deepcopy(wrapper), stretch.schedulers(copy.deepcopy(training.get('param_scheduler')))
