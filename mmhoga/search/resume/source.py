"""The checkpoint that a run resumes from: the paths in it, and what it lacks. For searches and ordinary trainings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner


def set_own_paths(runner: Runner, checkpoint: Mapping[str, Any]) -> None:
    """Replace the paths in a checkpoint's message hub by those of the same files in the folders of this run.

    mmengine removes the file ``best_ckpt`` when a better checkpoint follows. A run that continues another one in a
    folder of its own (``--work-dir B --resume A/epoch_3.pth``) must not remove that of the other. A path without such a
    file in this run is forgotten. Addresses (``s3://...``) stay.
    """
    hub = checkpoint.get('message_hub')
    if not isinstance(hub, Mapping):
        return
    folders = {_folder(hook, runner) for hook in runner.hooks if isinstance(hook, CheckpointHook)}
    info = hub['runtime_info']
    for key in [key for key in info if key in ('last_ckpt', 'best_ckpt') or key.startswith('best_ckpt_')]:
        path = str(info[key])
        if '://' in path:
            continue
        name = path.replace('\\', '/').rpartition('/')[2]
        own = [str(folder / name) for folder in folders if (folder / name).exists()]
        if own:
            info[key] = own[0]
        else:
            del info[key]
            hub['resumed_keys'].pop(key, None)


def _folder(hook: CheckpointHook, runner: Runner) -> Path:
    """The folder to which a hook will save, by the rule of ``CheckpointHook.before_train``."""
    work_dir = Path(runner.work_dir)
    return work_dir if hook.out_dir in (None, runner.work_dir) else Path(hook.out_dir) / work_dir.name


def missing_state(runner: Runner, checkpoint: Mapping[str, Any]) -> list[str]:
    """The parts, in words, without which a training cannot continue from a checkpoint as if it had not stopped."""
    meta = checkpoint.get('meta')
    schedulers = runner.param_schedulers
    has_schedulers = any(schedulers.values()) if isinstance(schedulers, Mapping) else bool(schedulers)
    lacks = {
        'epoch and iteration': not isinstance(meta, Mapping) or not {'epoch', 'iter'} <= meta.keys(),
        'logs': 'message_hub' not in checkpoint,
        'optimizer state': 'optimizer' not in checkpoint,
        'learning rate schedule': has_schedulers and 'param_schedulers' not in checkpoint,
    }
    return [name for name, is_missing in lacks.items() if is_missing]


def lacks(path: Any, missing: list[str]) -> str:
    """A sentence about :func:`missing_state`."""
    return (
        f'{path} has no {" and no ".join(missing)}. The files best_*.pth, published files, and checkpoints saved with '
        'save_optimizer=False have none.'
    )
