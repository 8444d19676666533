"""The hook that records a search after each epoch: genotype, history of alpha, log line, curves, collapse watch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.dist import all_reduce, broadcast_object_list, master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmhoga.files import write_atomic
from mmhoga.genotype import Genotype
from mmhoga.registry import HOOKS
from mmhoga.search.costs import Shape, genotype_cost, record_input_shape
from mmhoga.search.derived import plugins_file
from mmhoga.search.model import SearchModel, unwrapped
from mmhoga.search.records.history import epoch_entry, epoch_line, epoch_scalars, read_json, write_history
from mmhoga.search.records.watch import CollapseWatch
from mmhoga.version import __version__


@HOOKS.register_module()
class GenotypeHook(Hook):
    """Writes to the work_dir after each epoch of a search:

    - ``genotype.json``: the derived genotype; ``meta`` holds seed, epoch, alpha, primitives, config and versions;
    - ``search_history.json``: one record per epoch (:mod:`mmhoga.search.records.history`), with the parameters and
      multiply-accumulates of the edges of all derived cells, for one image of the size of the first batch, and the
      mean losses on trainA, on trainB (cost included) and, if computed, on the validation data;
    - ``plugins.py``: a config with the plugins to train.

    Each record is also one line of the log, and curves for the visualizer and so for TensorBoard
    (``vis_backends=[dict(type='TensorboardVisBackend')]``). With one alpha per stage, the first two files are in one
    folder per stage (``layer1/genotype.json``, ...). Files are written whole or not at all. A resumed run keeps the
    history up to the epoch that it resumes from.

    Args:
        watch: arguments of :class:`mmhoga.search.records.watch.CollapseWatch`, which warns or stops the search.
    """

    priority = 'LOW'  # before the checkpoint of the same epoch

    def __init__(self, watch: dict[str, Any] | None = None) -> None:
        self.watch = CollapseWatch(**(watch or {}))
        self._histories: dict[str, list[dict[str, Any]]] = {}  # by stage
        self._shapes: dict[str, Shape] = {}  # by cell

    def before_train(self, runner: Runner) -> None:
        model = _search_model(runner)
        # Sizes of the first batch of the search, also after a resume: checkpoints hold the message hub.
        self._shapes = runner.message_hub.runtime_info.get('cell_inputs', {})
        runner.message_hub.update_info('cell_inputs', self._shapes)
        for name, cell in model.named_cells().items():
            if name not in self._shapes:
                record_input_shape(cell, name, self._shapes)
        for stage in model.named_alphas():
            path = Path(runner.work_dir, stage, 'search_history.json')
            entries = read_json(path)['epochs'] if runner.epoch and path.is_file() else []
            self._histories[stage] = [entry for entry in entries if entry['epoch'] <= runner.epoch]
        if self.watch.action == 'stop' and self._findings(model):
            runner.train_loop.stop_training = True

    def after_train_epoch(self, runner: Runner) -> None:
        model = _search_model(runner)
        losses = _mean_losses(runner)
        genotypes = {}
        for stage, alpha in model.named_alphas().items():
            genotypes[stage] = model.genotype(_meta(runner, model, stage), stage)
            entry = epoch_entry(runner.epoch + 1, alpha, model.primitives, genotypes[stage])
            cells = model.named_cells(stage)
            if self._shapes.keys() >= cells.keys():
                cost = genotype_cost(cells, self._shapes, genotypes[stage])
                entry.update(params=cost.params, macs=cost.macs)
            self._histories[stage].append({**entry, 'loss': losses})
        self._write_histories(runner, model)
        self._write_genotypes(runner, genotypes)
        if not runner.train_loop.validation_follows(runner.epoch + 1):
            self._report(runner, model)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        entries = [history[-1] for history in self._histories.values() if history]
        if not entries or entries[0]['epoch'] != runner.epoch:
            return  # a validation without training
        model = _search_model(runner)
        if metrics and 'val_loss' in metrics:
            loss = _mean_over_processes(metrics['val_loss'])
            for entry in entries:
                entry['loss']['val'] = loss
            self._write_histories(runner, model)
        self._report(runner, model)

    def after_train(self, runner: Runner) -> None:
        for stage, history in self._histories.items():
            if history:
                path = Path(runner.work_dir, stage, 'genotype.json')
                runner.logger.info(f'The searched genotype{f" of {stage}" if stage else ""} is in {path}')

    @master_only
    def _write_histories(self, runner: Runner, model: SearchModel) -> None:
        for stage, history in self._histories.items():
            shapes = {name: self._shapes[name] for name in model.named_cells(stage) if name in self._shapes}
            path = Path(runner.work_dir, stage, 'search_history.json')
            write_history(path, model.num_groups, model.primitives, shapes, history)

    @master_only
    def _write_genotypes(self, runner: Runner, genotypes: dict[str, Genotype]) -> None:
        for stage, genotype in genotypes.items():
            genotype.save(Path(runner.work_dir, stage, 'genotype.json'))
        text = plugins_file(runner.cfg.get('model') or {}, genotypes, runner.cfg.get('custom_imports'))
        if text:
            write_atomic(Path(runner.work_dir, 'plugins.py'), text)

    def _report(self, runner: Runner, model: SearchModel) -> None:
        """Log the line of each stage, its curves, and the findings of the watch."""
        for stage, history in self._histories.items():
            epoch = history[-1]['epoch']
            runner.visualizer.add_scalars(epoch_scalars(history[-1], model.primitives, stage), step=epoch)
            subject = f'Genotype of {stage}' if stage else 'Genotype'
            runner.logger.info(f'{subject}, epoch {epoch}: {epoch_line(history[-1])}')
        stop = self.watch.action == 'stop'
        for finding in self._findings(model):
            consequence = 'the search stops here.' if stop else 'consider stopping the search.'
            runner.logger.warning(f'Watch, epoch {epoch}: {finding}; {consequence}')
            runner.train_loop.stop_training |= stop

    def _findings(self, model: SearchModel) -> list[str]:
        """Findings of the watch after the last epoch: all of them if they stop the search, else only new ones."""
        find = self.watch.findings if self.watch.action == 'stop' else self.watch.news
        findings = [
            f'{stage}: {text}' if stage else text
            for stage, history in self._histories.items()
            for text in find(history, model.primitives).values()
        ]
        objects = [findings]
        broadcast_object_list(objects)  # either all processes stop, or none
        return objects[0]


def _meta(runner: Runner, model: SearchModel, stage: str) -> dict[str, Any]:
    meta = {
        'epoch': runner.epoch + 1,
        'seed': runner.seed,
        'alpha': model.named_alphas()[stage].detach().double().cpu().tolist(),
        'primitives': list(model.primitives),
        'config': Path(runner.cfg.filename).name if runner.cfg.filename else None,
        'versions': {'mmhoga': __version__, 'mmengine': mmengine.__version__, 'torch': torch.__version__},
    }
    return {**meta, 'stage': stage} if stage else meta


def _mean_losses(runner: Runner) -> dict[str, float]:
    """Means over this epoch. A resumed epoch has its whole mean, since checkpoints hold the message hub."""
    means = {}
    for name, key in (('trainA', 'train/loss'), ('trainB', 'train/alpha_loss')):
        if key in runner.message_hub.log_scalars:
            mean = runner.message_hub.get_scalar(key).mean(len(runner.train_dataloader))
            means[name] = _mean_over_processes(mean)
    return means


def _mean_over_processes(value: float) -> float:
    mean = torch.tensor(float(value), dtype=torch.float64)
    all_reduce(mean, op='mean')
    return mean.item()


def _search_model(runner: Runner) -> SearchModel:
    model = unwrapped(runner.model)
    if not isinstance(model, SearchModel):
        raise TypeError(
            f'GenotypeHook records a mmhoga.SearchModel, not a {type(model).__name__}; remove it from the hooks.'
        )
    return model
