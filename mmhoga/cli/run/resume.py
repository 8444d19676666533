"""Checkpoints of ordinary trainings: whole files, and a check before a resume. A search has its own, stricter rules."""

from __future__ import annotations

import reprlib

from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from mmhoga.hosts import LaunchError
from mmhoga.search.loop import SearchLoop
from mmhoga.search.resume.checkpoint import write_whole_files
from mmhoga.search.resume.source import lacks, missing_state, set_own_paths


class TrainingFilesHook(Hook):
    """Makes CheckpointHook write whole files, and checks the checkpoint that a training resumes from.

    A checkpoint without epoch or logs is refused, one without optimizers gives a warning, and the paths in it become
    those of this run.

    mmengine raises a KeyError for the first. For the second it starts the optimizer and the learning rate schedule
    anew, in the middle of the training.
    """

    priority = 'LOWEST'  # after CheckpointHook

    def before_train(self, runner: Runner) -> None:
        for hook in runner.hooks:
            if type(hook) is CheckpointHook:
                write_whole_files(hook, runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not runner._resume or isinstance(runner.train_loop, SearchLoop):
            return
        missing = missing_state(runner, checkpoint)
        meta = checkpoint.get('meta')
        meta = meta if isinstance(meta, dict) else {}
        for name in ('epoch', 'iter'):
            if name in meta and (type(meta[name]) is not int or meta[name] < 0):
                raise LaunchError(f'{runner._load_from} is damaged: its {name} is {reprlib.repr(meta[name])}.')
        remedy = (
            'Resume from another checkpoint (--resume CHECKPOINT), or start a training with these weights: load_from '
            'instead of --resume.'
        )
        if {'epoch and iteration', 'logs'} & set(missing):
            raise LaunchError(f'{lacks(runner._load_from, missing)} A training cannot resume from it. {remedy}')
        if missing:
            runner.logger.warning(f'{lacks(runner._load_from, missing)} They start anew here. {remedy}')
        set_own_paths(runner, checkpoint)
