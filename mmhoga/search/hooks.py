"""What a search leaves behind: its genotype, and the history of alpha."""

from __future__ import annotations

import json
from pathlib import Path

import mmengine
import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmhoga.files import write_atomic
from mmhoga.genotype import Genotype, edge_list
from mmhoga.registry import HOOKS
from mmhoga.search.model import SearchModel, unwrapped
from mmhoga.version import __version__


@HOOKS.register_module()
class GenotypeHook(Hook):
    """After each epoch of a search, in its work_dir:

    - ``genotype.json``: the derived genotype; ``meta`` holds seed, epoch, alpha, primitives, config and versions;
    - ``search_history.json``: for every epoch alpha, the entropy of softmax(alpha) on each edge (nats), the genotype;

    and the same to the console, in one line, and to the visualizer. Both files are written whole or not at all. A
    resumed run keeps the history up to the epoch it resumes from.
    """

    priority = 'LOW'  # before the checkpoint of the same epoch

    genotype_file = 'genotype.json'
    history_file = 'search_history.json'

    def before_train(self, runner: Runner) -> None:
        history = Path(runner.work_dir) / self.history_file
        self._epochs = []
        if runner.epoch and history.is_file():
            epochs = json.loads(history.read_text(encoding='utf-8'))['epochs']
            self._epochs = [entry for entry in epochs if entry['epoch'] <= runner.epoch]

    @master_only
    def after_train_epoch(self, runner: Runner) -> None:
        model = _search_model(runner)
        alpha = model.alpha.detach().double().cpu()
        entropy = torch.distributions.Categorical(logits=alpha).entropy()
        genotype = model.genotype(
            {
                'epoch': runner.epoch + 1,
                'seed': runner.seed,
                'alpha': alpha.tolist(),
                'primitives': list(model.primitives),
                'config': Path(runner.cfg.filename).name if runner.cfg.filename else None,
                'versions': {'mmhoga': __version__, 'mmengine': mmengine.__version__, 'torch': torch.__version__},
            }
        )
        self._epochs.append(
            {
                'epoch': runner.epoch + 1,
                'alpha': alpha.tolist(),
                'entropy': entropy.tolist(),
                'genotype': [list(row) for row in genotype.edges],
            }
        )
        history = {
            'format': 'mmhoga.search_history',
            'version': 1,
            'num_groups': model.num_groups,
            'primitives': list(model.primitives),
            'epochs': self._epochs,
        }
        work_dir = Path(runner.work_dir)
        write_atomic(work_dir / self.history_file, json.dumps(history) + '\n')
        genotype.save(work_dir / self.genotype_file)
        self._report(runner, model, genotype, entropy)

    def after_train(self, runner: Runner) -> None:
        if self._epochs:
            runner.logger.info(f'The searched genotype is in {Path(runner.work_dir) / self.genotype_file}')

    def _report(self, runner: Runner, model: SearchModel, genotype: Genotype, entropy: torch.Tensor) -> None:
        scalars = {'alpha/entropy': entropy.mean().item()}
        for (j, k), row in zip(edge_list(model.num_groups), model.alpha.detach().softmax(-1).tolist()):
            for name, probability in zip(model.primitives, row):
                scalars[f'alpha/o_{j}_{k}/{name}'] = probability
        runner.visualizer.add_scalars(scalars, step=runner.epoch + 1)
        edges = ' | '.join(', '.join(row) for row in genotype.edges)
        runner.logger.info(f'Genotype, epoch {runner.epoch + 1}: {edges}; mean entropy {entropy.mean():.3f} nats')


def _search_model(runner: Runner) -> SearchModel:
    model = unwrapped(runner.model)
    if not isinstance(model, SearchModel):
        raise TypeError(
            f'GenotypeHook records a mmhoga.SearchModel, not a {type(model).__name__}; remove it from the hooks.'
        )
    return model
