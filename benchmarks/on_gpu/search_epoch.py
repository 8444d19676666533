"""Epochs of the paper's search by its own loop and hooks, on noise: 25,000 + 25,000 images of 32 x 32, batch 128.

Also the number of times that an iteration between two lines of the log makes the host wait for the GPU.
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

#: Form -> changes of the config, and the share of the epoch's images.
FORMS: dict[str, tuple[dict[str, Any], float]] = {
    'fp32': ({}, 1.0),
    'bf16': (
        {
            f'optim_wrapper.{name}.{key}': value
            for name in ('weights', 'alpha')
            for key, value in (('type', 'AmpOptimWrapper'), ('dtype', 'bfloat16'), ('loss_scale', dict(enabled=False)))
        },
        0.25,
    ),
}


@LOOPS.register_module()
class WatchedSearchLoop(TimedSearchLoop):
    """Counts the warnings of torch about waiting for the GPU in one iteration."""

    waits: list[str] | None = None

    def run_iter(self, idx: int, *batches: Any) -> None:
        if idx != 3 or self.waits is not None or not torch.cuda.is_available():
            super().run_iter(idx, *batches)
            return
        torch.cuda.set_sync_debug_mode('warn')
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            super().run_iter(idx, *batches)
        torch.cuda.set_sync_debug_mode('default')
        self.waits = [f'{each.filename}:{each.lineno}' for each in caught if 'synchroniz' in str(each.message)]


def measure(results: Results) -> None:
    for name, (changes, share) in FORMS.items():
        if not results.on_gpu and name != 'fp32':
            continue  # mmengine's wrapper for mixed precision needs a GPU
        with results.attempt(form=name), tempfile.TemporaryDirectory() as folder:
            images = 64 if results.toy else int(50_000 * share)
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
            if loop.waits is not None:
                results.row(
                    form=name, waits_in_an_iteration=len(loop.waits), at=' '.join(sorted(set(loop.waits)))[:300]
                )
