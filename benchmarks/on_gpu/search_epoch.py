"""Epochs of the paper's search by its own loop and hooks, on noise: 25,000 + 25,000 images of 32 x 32, batch 128.

Also the number of times that an iteration between two lines of the log makes the host wait for the GPU. Copies by the
data preprocessor count, also those on a stream of their own, which wait for no step. And the relative difference of
alpha after the first iterations between graphs and eager steps on the same images.
"""

from __future__ import annotations

import tempfile
import warnings
from typing import Any

import torch
from loop_overhead import TimedSearchLoop
from mmengine.registry import LOOPS
from mmengine.runner import Runner
from on_gpu.config import search_config
from on_gpu.results import Results

from mmhoga.hosts import import_mmpretrain, load_config

BF16 = {
    f'optim_wrapper.{name}.{key}': value
    for name in ('weights', 'alpha')
    for key, value in (('type', 'AmpOptimWrapper'), ('dtype', 'bfloat16'), ('loss_scale', dict(enabled=False)))
}
GRAPHS = {'train_cfg.cuda_graphs': True}
#: Form -> changes of the config, and the share of the epoch's images. On a CPU only the first.
FORMS: dict[str, tuple[dict[str, Any], float]] = {
    'fp32': ({}, 1.0),
    'fp32, graphs': (GRAPHS, 1.0),
    'bf16': (BF16, 0.25),
    'bf16, graphs': ({**BF16, **GRAPHS}, 0.25),
}
WATCHED = 7  # number of an iteration between two lines of the log, after the graphs have been captured


@LOOPS.register_module()
class WatchedSearchLoop(TimedSearchLoop):
    """Counts the warnings of torch about waiting for the GPU in one iteration, and copies alpha after it."""

    waits: list[str] | None = None
    alpha: torch.Tensor

    def run_iter(self, idx: int, *batches: Any) -> None:
        if idx != WATCHED or self.waits is not None:
            super().run_iter(idx, *batches)
            return
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            if torch.cuda.is_available():
                torch.cuda.set_sync_debug_mode('warn')
            super().run_iter(idx, *batches)
            if torch.cuda.is_available():
                torch.cuda.set_sync_debug_mode('default')
        self.waits = [f'{each.filename}:{each.lineno}' for each in caught if 'synchroniz' in str(each.message)]
        self.alpha = self.runner.model.alpha.detach().clone()


def measure(results: Results) -> None:
    alphas: dict[str, torch.Tensor] = {}
    for name, (changes, share) in FORMS.items():
        if not results.on_gpu and name != 'fp32':
            continue
        with results.attempt(form=name), tempfile.TemporaryDirectory() as folder:
            images = 160 if results.toy else int(50_000 * share)
            cfg = load_config(search_config(folder, images, toy=results.toy), changes)
            import_mmpretrain(cfg)
            cfg.update(work_dir=f'{folder}/work', experiment_name=f'epoch_{name}')
            cfg.train_cfg.type = 'WatchedSearchLoop'
            runner = Runner.from_cfg(cfg)
            runner.train()
            loop = runner.train_loop
            count = len(loop.dataloader)
            for number, (total, _) in enumerate(loop.epochs, start=1):
                row: dict[str, Any] = dict(form=name, epoch=number, iterations=count, seconds=total)
                row['ms_per_iteration'] = 1e3 * total / count
                if not results.toy:
                    row['minutes_for_the_whole_search'] = total / count * 195 * 100 / 60
                results.row(**row)
            alphas[name] = loop.alpha
            same = alphas.get(name.partition(',')[0], loop.alpha)  # without graphs
            difference = float((loop.alpha - same).norm() / same.norm())
            where = ' '.join(sorted(set(loop.waits)))[:300]
            results.row(form=name, waits_in_an_iteration=len(loop.waits), at=where, alpha_difference=difference)
