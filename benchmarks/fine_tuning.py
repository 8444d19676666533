"""Fine-tune trained networks with and without an inserted attention, and print the scores as a table.

    mmhoga make-data
    python benchmarks/fine_tuning.py                                   # detection and pose on the generated images
    python benchmarks/fine_tuning.py --fashion-mnist FOLDER            # and a classifier; FOLDER has the unzipped files
    python benchmarks/fine_tuning.py --table                           # only print what has been measured

For each task, a plain network is trained to the end of its schedule. Then it is fine-tuned with one budget and 3 seeds:
as it is, with HOGA from the identity and from a random start, with SE and CBAM from the identity, and with HOGA alone
trained. The validation score is recorded before the first step and after each epoch,
and at the end, how much each cell changes its input. Finished runs are kept in
``work_dirs/fine_tuning/runs.jsonl``, so the benchmark can be interrupted and continued, and tasks can run side by side
(``--tasks``). All of it takes more than an hour on one core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from torch import nn

from mmhoga.cli.run.runner import run_config
from mmhoga.cli.values import format_table
from mmhoga.hosts import load_config
from mmhoga.insertion import cells_of
from mmhoga.models.hooks import hooked

WORK_DIR = Path('work_dirs/fine_tuning')
AFTER = r'backbone\.layer\d\.\d\.bn2'  # where the paper has HOGA in a BasicBlock
# Variant -> the settings of mmhoga.Insert; None without an attention.
VARIANTS: dict[str, dict[str, Any] | None] = {
    'plain, trained further': None,
    'HOGA, identity start': dict(cell=dict(type='mmhoga.HOGA', genotype='autola')),
    'HOGA, random start': dict(cell=dict(type='mmhoga.HOGA', genotype='autola'), start='random'),
    'SE, identity start': dict(cell=dict(type='mmhoga.Attention', name='se')),
    'CBAM, identity start': dict(cell=dict(type='mmhoga.Attention', name='cbam')),
    'HOGA alone trained': dict(cell=dict(type='mmhoga.HOGA', genotype='autola'), train_only='cells'),
}


class Task(NamedTuple):
    """A config, its metric, and the budget of fine-tuning: epochs and learning rate."""

    config: str
    metric: str
    epochs: int
    rate: float = 2e-4  # a fifth of the rate of the plain training
    variants: tuple[str, ...] = tuple(VARIANTS)


TASKS = {
    'Fashion-MNIST, ResNet-8': Task('resnet8_1xb96-8e_digits', 'accuracy/top1', 4),
    'shapes, SSD': Task('ssd_r18_1xb8-20e_shapes', 'coco/bbox_mAP', 3),
    'people, SimpleBaseline': Task('td-hm_r18_1xb16-10e_people', 'coco/AP', 3),
    'shapes, Faster R-CNN': Task('faster-rcnn_r18_fpn_1xb8-10e_shapes', 'coco/bbox_mAP', 2),
    'Fashion-MNIST, ResNet-8, long': Task(
        'resnet8_1xb96-8e_digits', 'accuracy/top1', 10, 1e-3, (*tuple(VARIANTS)[:2], 'SE, identity start')
    ),
}
SEEDS = (0, 1, 2)
CELL_FACTOR = 5  # of the learning rate, for the new cells; 1 at the full rate


class Scores(Hook):
    """Validates before the first step, and records the metric of every validation."""

    def __init__(self, metric: str, validate_first: bool) -> None:
        self.metric = metric
        self.validate_first = validate_first
        self.values: list[float] = []
        self.changes: dict[str, float] = {}

    def before_train(self, runner: Any) -> None:
        if self.validate_first:
            runner.val_loop.run()

    def after_train(self, runner: Any) -> None:
        """Measure how much each cell changes its input on the validation data, as |y - x| / |x|."""
        cells = cells_of(runner.model)
        changes: dict[nn.Module, list[float]] = {cell: [] for cell in cells.values()}

        def record(cell: nn.Module, args: Any, output: Any) -> None:
            changes[cell].append(float((output - args[0]).norm() / args[0].norm()))

        values = self.values.copy()
        with hooked([(cell, record) for cell in cells.values()]):
            runner.val_loop.run()
        self.values = values
        self.changes = {name: statistics.mean(changes[cell]) for name, cell in cells.items()}

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        assert metrics is not None
        self.values.append(float(metrics[self.metric]))


def plain_config(task: str, fashion_mnist: str) -> Config:
    """The config of the plain network, trained from scratch. Fashion-MNIST: 6,000 training and 5,000 test images."""
    cfg = load_config(TASKS[task].config)
    if task.startswith('Fashion'):
        data = dict(_delete_=True, type='FashionMNIST', data_root=fashion_mnist)
        loaders: dict[str, Any] = dict(
            train_dataloader=dict(batch_size=64, drop_last=True, dataset=dict(data, split='train', indices=6000)),
            val_dataloader=dict(batch_size=500, dataset=dict(data, split='test', indices=5000)),
        )
        flip = dict(type='RandomFlip', prob=0.5)
        pack = dict(type='PackInputs')
        loaders['train_dataloader']['dataset']['pipeline'] = [flip, pack]
        loaders['val_dataloader']['dataset']['pipeline'] = [pack]
        epochs = dict(max_epochs=12, val_interval=12)
        cfg.merge_from_dict(dict(**loaders, train_cfg=epochs, data_preprocessor=dict(mean=[72.9], std=[90.0])))
        cfg.optim_wrapper = ConfigDict(optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.01))
        cfg.param_scheduler = schedule(12)
    cfg.train_cfg.val_interval = cfg.train_cfg.max_epochs
    cfg.default_hooks.checkpoint = ConfigDict(type='CheckpointHook', interval=cfg.train_cfg.max_epochs)
    return cfg


def schedule(epochs: int) -> list[ConfigDict]:
    """Linear warm-up over 50 steps, then a cosine."""
    cosine = dict(T_max=epochs, eta_min=1e-5, by_epoch=True, begin=0, end=epochs, convert_to_iter_based=True)
    return [
        ConfigDict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
        ConfigDict(type='CosineAnnealingLR', **cosine),
    ]


def fine_tuning_config(cfg: Config, task: str, variant: str, seed: int, checkpoint: Path) -> Config:
    """The plain config with an attention, the weights of the plain network, and the schedule of fine-tuning."""
    _, _, epochs, rate, _ = TASKS[task]
    insertion = VARIANTS[variant]
    if insertion is not None:
        cfg.model.update(type='mmhoga.Insert', into=cfg.model.type, after=AFTER, **insertion)
    wrapper = cfg.optim_wrapper
    wrapper.optimizer.lr = rate
    wrapper.paramwise_cfg = ConfigDict(
        custom_keys={f'.{name}.': dict(lr_mult=min(CELL_FACTOR, 1e-3 / rate)) for name in ('hoga', 'attention')}
    )
    cfg.param_scheduler = schedule(epochs)
    cfg.train_cfg.update(max_epochs=epochs, val_interval=1)
    cfg.default_hooks.checkpoint = ConfigDict(type='CheckpointHook', interval=-1, save_last=False)
    cfg.load_from = str(checkpoint)
    cfg.randomness = ConfigDict(seed=100 + seed)
    return cfg


def train(cfg: Config, work_dir: Path, scores: Scores) -> None:
    cfg.work_dir = str(work_dir)
    cfg.launcher = 'none'

    def action(runner: Any) -> None:
        runner.register_hook(scores)
        runner.train()

    run_config(cfg, ['train', 'val'], action)


def run_task(task: str, fashion_mnist: str, runs: Path) -> None:
    work_dir = WORK_DIR / task.replace(', ', '_').replace(' ', '-')
    metric, checkpoint = TASKS[task].metric, WORK_DIR / f'{TASKS[task].config}.pth'
    if not checkpoint.exists():
        cfg = plain_config(task, fashion_mnist)
        train(cfg, work_dir / 'plain', Scores(metric, validate_first=False))
        (work_dir / 'plain' / f'epoch_{cfg.train_cfg.max_epochs}.pth').rename(checkpoint)
    for seed in SEEDS:
        for variant in TASKS[task].variants:
            done = [(run['task'], run['variant'], run['seed']) for run in measured(runs)]
            if (task, variant, seed) in done:
                continue
            cfg = fine_tuning_config(plain_config(task, fashion_mnist), task, variant, seed, checkpoint)
            scores, started = Scores(metric, validate_first=True), time.time()
            train(cfg, work_dir / f'{variant.replace(", ", "_").replace(" ", "-")}_{seed}', scores)
            result = dict(task=task, variant=variant, seed=seed, scores=scores.values, changes=scores.changes)
            result['seconds'] = time.time() - started
            with runs.open('a') as file:
                file.write(json.dumps(result) + '\n')
            print(result, flush=True)


def measured(runs: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in runs.read_text().splitlines()] if runs.exists() else []


def table(runs: list[dict[str, Any]]) -> str:
    """Scores in percent, as mean and standard deviation over the seeds: before, after each epoch."""
    lines = []
    for task, (_, metric, epochs, _, _) in TASKS.items():
        shown = [*range(min(epochs, 4)), *range(5, epochs, 2)]  # of a long training, every second
        rows = [('', 'step 0', *(f'epoch {epoch + 1}' for epoch in shown))]
        for variant in VARIANTS:
            found = [run for run in runs if (run['task'], run['variant']) == (task, variant)]
            if found:
                scores = list(zip(*(run['scores'] for run in found)))
                shown_scores = [scores[0], *(scores[epoch + 1] for epoch in shown)]
                rows.append((f'{variant} ({len(found)})', *map(_summary, shown_scores)))
        if len(rows) > 1:
            lines.append(f'{task}: {metric}\n{format_table(rows)}\n')
    return '\n'.join(lines)


def _summary(scores: tuple[float, ...]) -> str:
    percent = [score if score > 1 else 100 * score for score in scores]
    spread = f' ± {statistics.stdev(percent):.2f}' if len(percent) > 1 else ''
    return f'{statistics.mean(percent):.2f}{spread}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--tasks', nargs='+', default=list(TASKS), choices=list(TASKS), metavar='TASK')
    parser.add_argument('--fashion-mnist', default='', metavar='FOLDER', help='folder of the unzipped data set')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--table', action='store_true', help='only print the results so far')
    args = parser.parse_args()
    runs = WORK_DIR / 'runs.jsonl'
    if not args.table:
        torch.set_num_threads(args.threads)
        WORK_DIR.mkdir(parents=True, exist_ok=True)
        for task in args.tasks:
            if args.fashion_mnist or not task.startswith('Fashion'):
                run_task(task, args.fashion_mnist, runs)
    print(table(measured(runs)))


if __name__ == '__main__':
    main()
