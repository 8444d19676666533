"""Functions that apply the flags of a command line to a ``Config``, in place.

Some return a note for the log about a decision that the user should know.
"""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config, ConfigDict

from mmhoga.files import near_names
from mmhoga.hosts import LaunchError, walk


def set_work_dir(cfg: Config, work_dir: str | None) -> None:
    """Use the flag, or else the config's ``work_dir``, or else ``work_dirs/<name of the config>``."""
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(cfg.filename).stem)


def set_resume(cfg: Config, resume: str | None) -> str | None:
    """Resume from the named checkpoint or, with a bare ``--resume``, from the last one in work_dir.

    If work_dir has no checkpoint, a bare ``--resume`` starts from scratch with the config's ``load_from``. One job
    script therefore serves the first start and every restart.
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
        return f'--resume: there is no checkpoint in {cfg.work_dir} yet, so this run starts from scratch.'
    cfg.load_from = str(checkpoint)
    return f'--resume: continuing from {checkpoint}.'


def latest_checkpoint(work_dir: Path) -> Path | None:
    """The checkpoint named in ``work_dir/last_checkpoint``, or None.

    That file holds the path at the time of saving. If work_dir has been moved since, the checkpoint is beside it.

    Raises:
        LaunchError: the checkpoint does not exist.
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
    """Raise a LaunchError if a local checkpoint does not exist, before minutes are spent on building data sets."""
    if '://' not in checkpoint and not Path(checkpoint).exists():
        raise LaunchError(f'there is no checkpoint {checkpoint}.{near_names(Path(checkpoint))}')


def optim_wrappers(cfg: Config) -> dict[str, ConfigDict]:
    """The optimizer wrappers of a config by their dotted key. A search has several, in a dict."""
    wrapper = {'optim_wrapper': cfg.get('optim_wrapper')}
    return {key: node for key, node in walk(wrapper) if isinstance(node, dict) and 'optimizer' in node}


def set_amp(cfg: Config, amp: bool, accelerator: bool) -> None:
    """Turn every optimizer wrapper into an AmpOptimWrapper with a dynamic loss scale.

    Raises:
        LaunchError: there is no accelerator, which mmengine's wrapper needs, or a wrapper's type has no
            mixed-precision form.
    """
    for key, wrapper in optim_wrappers(cfg).items():
        kind = _name(wrapper.get('type', 'OptimWrapper'))
        if amp:
            if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
                raise LaunchError(f"--amp: {key}.type is {kind!r}; only 'OptimWrapper' has a mixed-precision form.")
            kind = wrapper.type = 'AmpOptimWrapper'
            wrapper.setdefault('loss_scale', 'dynamic')
        if kind == 'AmpOptimWrapper' and not accelerator:
            asked = '--amp' if amp else f"{key}.type = '{kind}'"
            raise LaunchError(
                f'{asked} needs an accelerator (CUDA, NPU, MLU or MUSA), and torch finds none on '
                'this machine. Train in full precision instead.'
            )


def set_auto_scale_lr(cfg: Config, enable: bool, world_size: int) -> str | None:
    """Apply the linear scaling rule: lr * (batch size of all processes) / base_batch_size.

    mmengine scales a single optimizer itself. Of several, only SGD is scaled here: the rule holds for SGD, and the step
    of a search's Adam on alpha does not grow with the gradient. ``auto_scale_lr=dict(optimizers=['weights', ...])``
    selects others. ``base_batch_size`` is set to the actual one, so running the saved config with the flag again scales
    nothing.

    Raises:
        LaunchError: the config has no ``auto_scale_lr.base_batch_size``.
    """
    settings = cfg.get('auto_scale_lr') or {}
    if not enable and not settings.get('enable', False):
        return None
    if 'base_batch_size' not in settings:
        raise LaunchError(
            f'--auto-scale-lr: {cfg.filename} has no auto_scale_lr = dict(base_batch_size=N). N is the number of '
            'images per step, over all processes, for which its learning rates were chosen.'
        )
    wrappers = {key.rpartition('.')[2]: wrapper for key, wrapper in optim_wrappers(cfg).items()}
    if 'optim_wrapper' in wrappers:
        cfg.auto_scale_lr.enable = True
        return None
    chosen = settings.get('optimizers')
    if not wrappers.keys() >= set(chosen or ()):
        raise LaunchError(f'auto_scale_lr.optimizers = {chosen}, but optim_wrapper has: {", ".join(sorted(wrappers))}.')
    actual = world_size * cfg.train_dataloader.batch_size
    ratio = actual / settings['base_batch_size']
    notes = []
    for name, wrapper in wrappers.items():
        optimizer = wrapper.optimizer
        if (_name(optimizer.type) == 'SGD') if chosen is None else (name in chosen):
            optimizer.lr = optimizer.lr * ratio
            notes.append(f'{name} to {optimizer.lr:g}')
        else:
            notes.append(f'{name} stays at {optimizer.lr:g}')
    cfg.auto_scale_lr.update(enable=False, base_batch_size=actual)
    return f'--auto-scale-lr: {actual} images per step, x{ratio:g}: ' + ', '.join(notes) + '.'


def set_loader_defaults(cfg: Config, *, pin_memory: bool, persistent_workers: bool) -> None:
    """Set the defaults that mmpretrain's tools add to the data loaders of its configs.

    For every host, ``persistent_workers`` is removed from loaders without workers, which torch refuses.
    """
    for key, loader in walk(cfg):
        if not key.endswith('dataloader') or not isinstance(loader, dict):
            continue
        if cfg.get('default_scope') == 'mmpretrain':
            loader.setdefault('pin_memory', pin_memory)
            loader.setdefault('persistent_workers', persistent_workers)
            loader.setdefault('collate_fn', ConfigDict(type='default_collate'))
        if loader.get('num_workers', 0) == 0:
            loader.pop('persistent_workers', None)


def _name(kind) -> str:
    """The bare name of a ``type``, which may be a class in mmengine's pure Python configs."""
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]
