"""What a search leaves behind: its genotype, the history of alpha, curves, and a warning when it collapses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.dist import all_reduce, broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmhoga.files import write_atomic
from mmhoga.genotype import Genotype
from mmhoga.registry import HOOKS
from mmhoga.search.costs.expected import Shape, genotype_cost, watch_shape
from mmhoga.search.derived import plugins_file
from mmhoga.search.model import SearchModel, unwrapped
from mmhoga.search.records.history import FORMAT, VERSION, epoch_entry, epoch_line, epoch_scalars
from mmhoga.search.records.watch import CollapseWatch
from mmhoga.version import __version__


@HOOKS.register_module()
class GenotypeHook(Hook):
    """After each epoch of a search, in its work_dir:

    - ``genotype.json``: the derived genotype; ``meta`` holds seed, epoch, alpha, primitives, config and versions;
    - ``search_history.json``: per epoch, the output of :func:`mmhoga.search.records.history.epoch_entry`, the parameters and
      multiply-accumulates of the derived cells' edges (all cells, one image of the size of the first batch), and the
      mean losses on trainA, on trainB (cost included) and, where it is computed, on the validation data;
    - ``plugins.py``: a config with the plugins to train;

    and the same to the console, in one line, and to the visualizer, so to TensorBoard
    (``vis_backends=[dict(type='TensorboardVisBackend')]``). With one alpha a stage the first two are in a folder a
    stage, ``layer1/genotype.json`` and so on. All files are written whole or not at all. A resumed run keeps the
    history up to the epoch it resumes from.

    Args:
        watch: arguments of :class:`mmhoga.search.records.watch.CollapseWatch`, which warns, or stops the search.
    """

    priority = 'LOW'  # before the checkpoint of the same epoch

    genotype_file = 'genotype.json'
    history_file = 'search_history.json'
    plugins_file = 'plugins.py'

    def __init__(self, watch: dict[str, Any] | None = None) -> None:
        self.watch = CollapseWatch(**(watch or {}))
        self._histories: dict[str, list[dict[str, Any]]] = {}
        self._shapes: dict[str, Shape] = {}

    def before_train(self, runner: Runner) -> None:
        model = _search_model(runner)
        self._histories = {}
        # The first batch stands for all: a detector's differ in size. Checkpoints hold the message hub.
        known = runner.message_hub.runtime_info.get('cell_inputs', {})
        self._shapes = {name: tuple(shape) for name, shape in known.items()}
        for stage in model.named_alphas():
            path = Path(runner.work_dir) / stage / self.history_file
            saved = json.loads(path.read_text(encoding='utf-8')) if runner.epoch and path.is_file() else {}
            self._histories[stage] = [entry for entry in saved.get('epochs', ()) if entry['epoch'] <= runner.epoch]
        cells = model.named_cells()
        self._handles = [watch_shape(cells[name], name, self._shapes) for name in cells if name not in self._shapes]
        if self.watch.action == 'stop' and self._findings(model):
            runner.train_loop.stop_training = True

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        if self._handles:
            while self._handles:
                self._handles.pop().remove()
            shapes = {name: list(shape) for name, shape in self._shapes.items()}
            runner.message_hub.update_info('cell_inputs', shapes)

    def after_train_epoch(self, runner: Runner) -> None:
        model = _search_model(runner)
        for stage, alpha in model.named_alphas().items():
            genotype = model.genotype(_meta(runner, model, stage), stage)
            entry = epoch_entry(runner.epoch + 1, alpha, model.primitives, genotype)
            cells = model.named_cells(stage)
            if all(name in self._shapes for name in cells):
                cost = genotype_cost(cells, self._shapes, genotype)
                entry.update(params=cost.params, macs=cost.macs)
            entry['loss'] = _mean_losses(runner)
            self._histories[stage].append(entry)
            if is_main_process():
                self._write(runner, model, stage)
                genotype.save(Path(runner.work_dir) / stage / self.genotype_file)
        if is_main_process():
            self._write_plugins(runner, model)
        if not _validation_follows(runner):
            self._report(runner, model)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        entries = [history[-1] for history in self._histories.values() if history]
        if not entries or entries[0]['epoch'] != runner.epoch:
            return  # a validation by itself
        model = _search_model(runner)
        if metrics and 'val_loss' in metrics:
            loss = _over_processes(metrics['val_loss'])
            for stage, entry in zip(self._histories, entries):
                entry['loss']['val'] = loss
                if is_main_process():
                    self._write(runner, model, stage)
        self._report(runner, model)

    def after_train(self, runner: Runner) -> None:
        for stage, history in self._histories.items():
            if history:
                where = Path(runner.work_dir) / stage / self.genotype_file
                runner.logger.info(f'The searched genotype{f" of {stage}" if stage else ""} is in {where}')

    def _write(self, runner: Runner, model: SearchModel, stage: str) -> None:
        cells = model.named_cells(stage)
        history = {
            'format': FORMAT,
            'version': VERSION,
            'num_groups': model.num_groups,
            'primitives': list(model.primitives),
            'cell_inputs': {name: list(shape) for name, shape in self._shapes.items() if name in cells},
            'epochs': self._histories[stage],
        }
        folder = Path(runner.work_dir) / stage
        folder.mkdir(exist_ok=True)
        write_atomic(folder / self.history_file, json.dumps(history) + '\n')

    def _write_plugins(self, runner: Runner, model: SearchModel) -> None:
        genotypes = {stage: Genotype(history[-1]['genotype']) for stage, history in self._histories.items()}
        text = plugins_file(runner.cfg.get('model') or {}, genotypes, runner.cfg.get('custom_imports'))
        if text:
            write_atomic(Path(runner.work_dir) / self.plugins_file, text)

    def _report(self, runner: Runner, model: SearchModel) -> None:
        """The line, the curves, and what the watch has to say."""
        epoch = next(iter(self._histories.values()))[-1]['epoch']
        for stage, history in self._histories.items():
            runner.visualizer.add_scalars(epoch_scalars(history[-1], model.primitives, stage), step=epoch)
            where = f'Genotype of {stage}' if stage else 'Genotype'
            runner.logger.info(f'{where}, epoch {epoch}: {epoch_line(history[-1])}')
        stop = self.watch.action == 'stop'
        findings = self._findings(model)
        for finding in findings:
            consequence = 'the search stops here.' if stop else 'consider to stop the search.'
            runner.logger.warning(f'Watch, epoch {epoch}: {finding}; {consequence}')
        if findings and stop:
            runner.train_loop.stop_training = True

    def _findings(self, model: SearchModel) -> list[str]:
        """What the watch says of the last epoch, stage by stage: all of it before a stop, else what is new."""
        found = []
        for stage, history in self._histories.items():
            if self.watch.action == 'stop':
                texts = list(self.watch.findings(history, model.primitives).values())
            else:
                texts = self.watch.news(history, model.primitives)
            found += [f'{stage}: {text}' if stage else text for text in texts]
        findings = [found]
        broadcast_object_list(findings)  # all processes stop, or none
        return findings[0]


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
    """Of this epoch. The message hub is part of every checkpoint, so a resumed epoch has its whole mean."""
    means = {}
    for name, key in (('trainA', 'train/loss'), ('trainB', 'train/alpha_loss')):
        if key in runner.message_hub.log_scalars:
            means[name] = _over_processes(runner.message_hub.get_scalar(key).mean(len(runner.train_dataloader)))
    return means


def _over_processes(value: float) -> float:
    mean = torch.tensor(float(value), dtype=torch.float64)
    all_reduce(mean, op='mean')
    return mean.item()


def _validation_follows(runner: Runner) -> bool:
    """As mmengine's EpochBasedTrainLoop decides it."""
    loop, epoch = runner.train_loop, runner.epoch + 1
    due = epoch % loop.val_interval == 0 or epoch == loop.max_epochs
    return runner.val_loop is not None and epoch >= loop.val_begin and due


def _search_model(runner: Runner) -> SearchModel:
    model = unwrapped(runner.model)
    if not isinstance(model, SearchModel):
        raise TypeError(
            f'GenotypeHook records a mmhoga.SearchModel, not a {type(model).__name__}; remove it from the hooks.'
        )
    return model
