"""The hook that records a search after each epoch, and warns of signs that it collapses or has settled."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.dist import all_reduce, broadcast_object_list, is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmhoga.registry import HOOKS
from mmhoga.search.costs import Shape, genotype_cost, record_input_shape
from mmhoga.search.derived import FILES, NO_FILE, write_cells
from mmhoga.search.model import SearchModel, unwrapped
from mmhoga.search.placement import NO_ATTENTION, kept_cells, record
from mmhoga.search.records.history import epoch_entry, epoch_line, epoch_scalars, read_json, write_history
from mmhoga.version import __version__


@dataclass(frozen=True)
class CollapseWatch:
    """The two criteria of DARTS+ (Liang et al. 2019), with thresholds for HOGA.

    Gradient-based searches drift to skip-connections when they run too long. The paper's own result has 3 in 10 edges
    (Fig. 3), which the limit of DARTS+ would reject; the default here allows half of the edges.

    Args:
        max_skips: the most skip-connections allowed in the derived genotype: a share of the edges (float) or a number
            of edges (int). None disables the criterion.
        stable_epochs: the search has settled if the order of the candidates with parameters, by alpha, is unchanged on
            every edge for this many epochs. None disables the criterion.
        action: ``'warn'`` once when a sign appears, or ``'stop'`` the search after that epoch.

    Raises:
        ValueError: an unknown action, or limits out of range.
    """

    max_skips: float | int | None = 0.5
    stable_epochs: int | None = 10
    action: str = 'warn'

    def __post_init__(self) -> None:
        if self.action not in ('warn', 'stop'):
            raise ValueError(f"watch.action must be one of 'warn' and 'stop', not {reprlib.repr(self.action)}.")
        limit = self.max_skips
        if limit is not None and (limit < 0 or (isinstance(limit, float) and limit > 1)):
            raise ValueError(f'watch.max_skips = {limit}; expected a share of the edges from 0.0 to 1.0, or an int.')
        if self.stable_epochs is not None and self.stable_epochs < 1:
            raise ValueError(f'watch.stable_epochs must be at least 1, not {self.stable_epochs}.')

    def findings(self, epochs: Sequence[Mapping[str, Any]], primitives: Sequence[str]) -> dict[str, str]:
        """The criteria that hold after the last of these epochs, each with a sentence.

        Args:
            epochs: records of ``search_history.json``, with ``alpha`` and ``genotype``.
            primitives: the names of alpha's columns.
        """
        findings = {}
        if epochs and self.max_skips is not None:
            names = [name for row in epochs[-1]['genotype'] for name in row]
            skips = names.count('skip_connect')
            limit = self.max_skips * len(names) if isinstance(self.max_skips, float) else self.max_skips
            if skips > limit:
                findings['max_skips'] = f'{skips} of {len(names)} edges would be skip-connections (limit {limit:g})'
        if self.stable_epochs is not None and len(epochs) > self.stable_epochs:
            recent = [_ranking(entry['alpha'], primitives) for entry in epochs[-self.stable_epochs - 1 :]]
            if all(ranking == recent[0] for ranking in recent):
                findings['stable_epochs'] = (
                    f'the order of the candidates has not changed on any edge for {self.stable_epochs} epochs'
                )
        return findings

    def news(self, epochs: Sequence[Mapping[str, Any]], primitives: Sequence[str]) -> dict[str, str]:
        """The findings that did not hold one epoch earlier."""
        before = self.findings(epochs[:-1], primitives)
        return {name: text for name, text in self.findings(epochs, primitives).items() if name not in before}


@HOOKS.register_module()
class GenotypeHook(Hook):
    """Writes to the work_dir after each epoch of a search:

    - ``genotype.json``: the derived genotype; ``meta`` holds seed, epoch, alpha, primitives, config and versions;
    - ``search_history.json``: one record per epoch (:mod:`mmhoga.search.records.history`), with the parameters and
      multiply-accumulates of the edges of all derived cells, for one image of the size of the first batch, and the
      mean losses on trainA, on trainB (cost included) and, if computed, on the validation data;
    - ``plugins.py``, or ``insertion.py`` for cells of ``mmhoga.Insert``: a config with the cells to train.

    Each record is also one line of the log, and curves for the visualizer and so for TensorBoard
    (``vis_backends=[dict(type='TensorboardVisBackend')]``). With one alpha per stage, the first two files are in one
    folder per stage (``layer1/genotype.json``, ...). Files are written whole or not at all. The checkpoints of the
    search hold the history too, so a resumed run keeps it in any folder.

    :class:`mmhoga.search.SearchLoop` adds this hook to every search. A config only names it to set its options.

    Args:
        watch: arguments of :class:`mmhoga.search.records.hook.CollapseWatch`, which warns or stops the search.
    """

    priority = 'LOW'  # before the checkpoint of the same epoch

    @classmethod
    def install(cls, runner: Runner) -> GenotypeHook:
        """Return the runner's hook of this class, or add one with the default options.

        Raises:
            ValueError: there are several, which would write the same files.
        """
        found = [hook for hook in runner.hooks if isinstance(hook, cls)]
        if len(found) > 1:
            raise ValueError(
                f'The config has {len(found)} hooks of type mmhoga.GenotypeHook, which would write the same files. '
                'Keep one of them: SearchLoop adds it anyway, so a config only names it to set its options.'
            )
        if not found:
            found.append(cls())
            runner.register_hook(found[0])
        return found[0]

    def __init__(self, watch: dict[str, Any] | None = None) -> None:
        self.watch = CollapseWatch(**(watch or {}))
        self._histories: dict[str, list[dict[str, Any]]] = {}  # by stage
        self._shapes: dict[str, Shape] = {}  # by cell

    def state_dict(self) -> dict[str, Any]:
        return {'histories': self._histories}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._histories = state['histories']

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
            if stage not in self._histories:  # a new search, or a checkpoint that an earlier version wrote
                entries = read_json(path)['epochs'] if runner.epoch and path.is_file() else []
                self._histories[stage] = [entry for entry in entries if entry['epoch'] <= runner.epoch]
        if self.watch.action == 'stop' and self._findings(model):
            runner.train_loop.stop_training = True

    def after_train_epoch(self, runner: Runner) -> None:
        model = _search_model(runner)
        losses = _mean_losses(runner)
        genotypes, kept = {}, model.kept()
        for stage, alpha in model.named_alphas().items():
            meta = {
                'epoch': runner.epoch + 1,
                'seed': runner.seed,
                'alpha': alpha.detach().double().cpu().tolist(),
                'primitives': list(model.primitives),
                'config': Path(runner.cfg.filename).name if runner.cfg.filename else None,
                'versions': {'mmhoga': __version__, 'mmengine': mmengine.__version__, 'torch': torch.__version__},
            }
            genotypes[stage] = model.genotype({**meta, 'stage': stage} if stage else meta, stage)
            entry = epoch_entry(runner.epoch + 1, alpha, model.primitives, genotypes[stage])
            temperature = runner.train_loop.mix_schedule.temperature(runner.epoch)
            if temperature != 1:
                entry['temperature'] = temperature
            cells = model.named_cells(stage)
            if kept is not None:
                placement = record(model.named_choices(), kept, cells, self._shapes, genotypes[stage])
                entry['placement'] = placement
                genotypes[stage] = replace(genotypes[stage], meta={**genotypes[stage].meta, 'placement': placement})
                cells = {name: cell for name, cell in cells.items() if name in kept_cells(kept)}
            if self._shapes.keys() >= cells.keys():
                cost = genotype_cost(cells, self._shapes, genotypes[stage])
                entry.update(params=cost.params, macs=cost.macs)
            self._histories[stage].append({**entry, 'loss': losses})
        self._write_histories(runner, model)
        if is_main_process():
            for stage, genotype in genotypes.items():
                genotype.save(Path(runner.work_dir, stage, 'genotype.json'))
            write_cells(Path(runner.work_dir), runner.cfg, genotypes, model)
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
        kept = _search_model(runner).kept()
        if kept is not None and not any(kept.values()):
            runner.logger.warning(NO_ATTENTION)
        if kept is not None and not any(Path(runner.work_dir, name).is_file() for name in FILES):
            runner.logger.warning(f'Placement: {NO_FILE}')

    @master_only
    def _write_histories(self, runner: Runner, model: SearchModel) -> None:
        for stage, history in self._histories.items():
            shapes = {name: self._shapes[name] for name in model.named_cells(stage) if name in self._shapes}
            path = Path(runner.work_dir, stage, 'search_history.json')
            write_history(path, len(history[-1]['genotype']), model.primitives, shapes, history)

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


def _mean_losses(runner: Runner) -> dict[str, float]:
    """Means over this epoch. A resumed epoch has its whole mean, since checkpoints hold the message hub."""
    means = {}
    for name, key in (('trainA', 'train/loss'), ('trainB', 'train/alpha_loss')):
        if key in runner.message_hub.log_scalars:
            means[name] = _mean_over_processes(runner.message_hub.get_scalar(key).mean(len(runner.train_dataloader)))
    return means


def _mean_over_processes(value: float) -> float:
    mean = torch.tensor(float(value), dtype=torch.float64)
    all_reduce(mean, op='mean')
    return mean.item()


def _search_model(runner: Runner) -> SearchModel:
    model = unwrapped(runner.model)
    if not isinstance(model, SearchModel):
        raise TypeError(f'GenotypeHook records a SearchModel, not a {type(model).__name__}; remove it from the hooks.')
    return model


def _ranking(alpha: Sequence[Sequence[float]], primitives: Sequence[str]) -> list[list[int]]:
    """The candidates with parameters; alpha of the others measures how strong an edge is, not which one is best."""
    learned = [i for i, name in enumerate(primitives) if name not in ('none', 'skip_connect')]
    return [sorted(learned, key=lambda i: -row[i]) for row in alpha]
