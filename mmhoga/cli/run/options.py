"""What the flags do to a config: functions that change a ``Config`` in place.

Each returns a note for the log when it decided something that the user should know of.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from mmengine.config import Config, ConfigDict

from mmhoga.files import near_names
from mmhoga.hosts import LaunchError


def set_work_dir(cfg: Config, work_dir: str | None) -> None:
    """The flag wins over the config, the config over ``work_dirs/<name of the config>``."""
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(cfg.filename).stem)


def set_resume(cfg: Config, resume: str | None) -> str | None:
    """``--resume CHECKPOINT`` goes on from there; a bare ``--resume`` from the newest in work_dir.

    With nothing in work_dir a bare ``--resume`` starts from scratch. The config's own ``load_from``
    then holds, so that one job script serves the first start and every restart.
    """
    if resume is None:
        return None
    if resume != 'auto':
        require_checkpoint(resume)
        cfg.resume, cfg.load_from = True, resume
        return None
    checkpoint = latest_checkpoint(Path(cfg.work_dir))
    cfg.resume = checkpoint is not None
    if checkpoint is None:
        return f'--resume: there is no checkpoint in {cfg.work_dir} yet, so this run starts anew.'
    cfg.load_from = str(checkpoint)
    return f'--resume: going on from {checkpoint}.'


def latest_checkpoint(work_dir: Path) -> Path | None:
    """The checkpoint that ``work_dir/last_checkpoint`` names, or None.

    The name there is the path as it was when it was saved. A work directory that was moved since
    still has the file beside it.

    Raises:
        LaunchError: the file named is gone.
    """
    record = work_dir / 'last_checkpoint'
    if not record.is_file():
        return None
    named = Path(record.read_text(encoding='utf-8').strip())
    for path in (named, work_dir / named.name):
        if path.exists():
            return path
    raise LaunchError(
        f'{record} names {named} as the last checkpoint, but there is no such file, nor '
        f'{work_dir / named.name}. Name another (--resume CHECKPOINT) or remove {record}.'
    )


def require_checkpoint(checkpoint: str) -> None:
    """Fail now, not after minutes of building data sets, when a local checkpoint is not there."""
    is_address = '://' in checkpoint  # https://, torchvision://, s3://: mmengine's backends
    if not is_address and not Path(checkpoint).exists():
        raise LaunchError(f'there is no checkpoint {checkpoint}.{near_names(Path(checkpoint))}')


def optim_wrappers(cfg: Config) -> dict[str, ConfigDict]:
    """The optimizer wrappers of a config by their dotted key: one, or several in a dict."""
    wrapper = cfg.get('optim_wrapper')
    if wrapper is None:
        return {}
    if 'optimizer' in wrapper:
        return {'optim_wrapper': wrapper}
    return {
        f'optim_wrapper.{name}': value
        for name, value in wrapper.items()
        if isinstance(value, dict) and 'optimizer' in value
    }


def set_amp(cfg: Config, amp: bool, accelerator: bool) -> None:
    """Turn every optimizer wrapper into an AmpOptimWrapper with a dynamic loss scale.

    Raises:
        LaunchError: no accelerator is there (mmengine's wrapper scales losses on one only), or a
            wrapper is of a kind that has no mixed-precision form.
    """
    for key, wrapper in optim_wrappers(cfg).items():
        kind = _name(wrapper.get('type', 'OptimWrapper'))
        if amp:
            if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
                raise LaunchError(f"--amp: {key}.type is {kind!r}; only 'OptimWrapper' can turn.")
            kind = wrapper.type = 'AmpOptimWrapper'
            wrapper.setdefault('loss_scale', 'dynamic')
        if kind == 'AmpOptimWrapper' and not accelerator:
            asked = '--amp' if amp else f"{key}.type = '{kind}'"
            raise LaunchError(
                f'{asked} needs an accelerator (CUDA, NPU, MLU or MUSA), and torch sees none on '
                'this machine. Train in full precision instead.'
            )


def set_auto_scale_lr(cfg: Config, enable: bool, world_size: int) -> str | None:
    """The linear scaling rule: lr * (batch size of all processes) / base_batch_size.

    One optimizer is left to mmengine, which scales whatever it is. Of a dict of optimizers only
    the SGD ones are scaled here: the rule is a statement about SGD, and a search's Adam on alpha,
    whose step does not grow with the gradient, keeps its own.
    ``auto_scale_lr=dict(optimizers=['weights', ...])`` says otherwise. ``base_batch_size`` becomes
    the actual one, so the config saved in work_dir can be run with the flag again.

    Raises:
        LaunchError: the config does not say for which batch size its learning rates are.
    """
    settings = cfg.get('auto_scale_lr') or {}
    if not enable and not settings.get('enable', False):
        return None
    if 'base_batch_size' not in settings:
        raise LaunchError(
            f'--auto-scale-lr: {cfg.filename} has no auto_scale_lr = dict(base_batch_size=N), N '
            'being the number of images, over all processes, that its learning rates are for.'
        )
    wrappers = optim_wrappers(cfg)
    if 'optim_wrapper' in wrappers:
        cfg.auto_scale_lr.enable = True
        return None
    names = {key.rpartition('.')[2] for key in wrappers}
    chosen = settings.get('optimizers')
    if not names.issuperset(chosen or ()):
        raise LaunchError(
            f'auto_scale_lr.optimizers = {chosen} names others than those of optim_wrapper: {", ".join(sorted(names))}.'
        )
    actual = world_size * cfg.train_dataloader.batch_size
    ratio = actual / settings['base_batch_size']
    notes = []
    for key, wrapper in wrappers.items():
        name = key.rpartition('.')[2]
        optimizer = wrapper.optimizer
        if (_name(optimizer.type) == 'SGD') if chosen is None else (name in chosen):
            optimizer.lr = optimizer.lr * ratio
            notes.append(f'{name} to {optimizer.lr:g}')
        else:
            notes.append(f'{name} stays at {optimizer.lr:g}')
    cfg.auto_scale_lr.update(enable=False, base_batch_size=actual)
    return f'--auto-scale-lr: {actual} images a step, x{ratio:g}: ' + ', '.join(notes) + '.'


def set_loader_defaults(cfg: Config, *, pin_memory: bool, persistent_workers: bool) -> None:
    """The data loader settings that mmpretrain's tools add to its configs, for every loader.

    ``pin_memory`` is a default, where the config says nothing. No worker can persist where there
    is none: torch raises, so that is mended in the configs of every host.
    """
    for loader in _loaders(cfg):
        if cfg.get('default_scope') == 'mmpretrain':
            loader.setdefault('pin_memory', pin_memory)
            loader.setdefault('persistent_workers', persistent_workers)
            loader.setdefault('collate_fn', ConfigDict(type='default_collate'))
        if loader.get('num_workers', 0) == 0:
            loader.pop('persistent_workers', None)


def set_preprocessor(cfg: Config) -> None:
    """mmpose's tools take a model's ``data_preprocessor`` from the top-level ``preprocess_cfg``."""
    if 'preprocess_cfg' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.preprocess_cfg)


def disable_validation(cfg: Config) -> None:
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None


def set_visualization(cfg: Config, *, show: bool, show_dir: str | None, interval: int, wait: float) -> None:
    """Draw predictions through the host's visualization hook, whose arguments differ by host."""
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise LaunchError(
            '--show and --show-dir draw through default_hooks.visualization, which '
            f"{cfg.filename} does not have: visualization=dict(type='VisualizationHook') is mmdet's "
            "and mmpretrain's, 'PoseVisualizationHook' mmpose's."
        )
    hook.update(show=show, wait_time=wait, interval=interval)
    if cfg.get('default_scope') == 'mmdet':
        hook.update(draw=True, test_out_dir=show_dir)
    else:
        hook.update(enable=True, out_dir=show_dir)


def set_tta(cfg: Config) -> None:
    """Test-time augmentation by ``tta_model`` and ``tta_pipeline``; without them, a flip.

    Raises:
        LaunchError: the host's config has no ``tta_model`` and we know of no default for it.
    """
    scope = cfg.get('default_scope')
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:  # wrappers such as RepeatDataset
        dataset = dataset.dataset
    if 'tta_model' not in cfg:
        if scope not in _TTA_MODELS:
            raise LaunchError(f'--tta: {cfg.filename} has no tta_model, and {scope} no default.')
        cfg.tta_model = _TTA_MODELS[scope]
    if 'tta_pipeline' not in cfg:
        *transforms, pack = deepcopy(list(dataset.pipeline))
        if scope == 'mmdet':
            pack['meta_keys'] = _FLIP_META_KEYS
        flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
        cfg.tta_pipeline = [*transforms, dict(type='TestTimeAug', transforms=[flips, [pack]])]
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    dataset.pipeline = cfg.tta_pipeline


_TTA_MODELS = {
    'mmpretrain': dict(type='AverageClsScoreTTA'),
    'mmdet': dict(
        type='DetTTAModel',  # registered in mmengine, so it has no prefix
        tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
    ),
}
_FLIP_META_KEYS = (
    *('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    *('flip', 'flip_direction'),  # what the boxes of the flipped image are turned back by
)


def _loaders(cfg: Config):
    """Data loaders at the top level and, for loops with one of their own, one level down."""
    sections = [cfg, *(cfg.get(f'{stage}_cfg') for stage in ('train', 'val', 'test'))]
    for section in sections:
        for key, value in (section or {}).items():
            if str(key).endswith('dataloader') and isinstance(value, dict):
                yield value


def _name(kind) -> str:
    """The bare name of a ``type``, which is a class in mmengine's pure Python configs."""
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]
