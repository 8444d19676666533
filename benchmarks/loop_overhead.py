"""Time that the loop of a search adds to its steps: waiting for data, hooks, logging, records.

    python benchmarks/loop_overhead.py                                                        # digits
    python benchmarks/loop_overhead.py --config configs/search/hoga-search_resnet20_1xb128-100e_cifar10.py \\
        --images 768 --batch 64 --workers 1                                                   # noise of CIFAR-10's size

Runs the search of a config with all its hooks, without validation, and times the two steps of each iteration (data
preprocessor, losses, gradients, optimizers). The loop adds the rest of the epoch. The first epoch, which starts the
workers, is printed but not counted.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, LOOPS
from mmengine.runner import Runner
from side_by_side import table

from mmhoga.hosts import import_mmpretrain, load_config
from mmhoga.search import SearchLoop


@DATASETS.register_module()
class Noise(BaseDataset):
    """Images of 32 x 32 random pixels in 10 classes, kept in memory like CIFAR-10."""

    METAINFO = {'classes': tuple('0123456789')}

    def __init__(self, images: int, pipeline: list) -> None:
        self.images = images
        super().__init__(pipeline=pipeline)

    def load_data_list(self) -> list[dict]:
        generator = np.random.default_rng(0)
        pixels = generator.integers(256, size=(self.images, 32, 32, 3), dtype=np.uint8)
        return [dict(img=image, gt_label=index % 10) for index, image in enumerate(pixels)]


@LOOPS.register_module()
class TimedSearchLoop(SearchLoop):
    """Records the duration of each epoch, and of its steps."""

    def run(self) -> Any:
        self.epochs: list[tuple[float, float]] = []
        self._steps = 0.0
        model = self.runner.model
        train_step = model.train_step
        model.train_step = lambda *args, **kwargs: self._timed(train_step, *args, **kwargs)
        return super().run()

    def run_epoch(self) -> None:
        start, self._steps = time.perf_counter(), 0.0
        super().run_epoch()
        self.epochs.append((time.perf_counter() - start, self._steps))

    def alpha_step(self, *batches: Any) -> Any:
        return self._timed(super().alpha_step, *batches)

    def _timed(self, step: Any, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        result = step(*args, **kwargs)
        self._steps += time.perf_counter() - start
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', default='configs/search/hoga-search_resnet8_1xb64-8e_digits.py')
    parser.add_argument('--images', type=int, help='replace the data set by this many images of noise')
    parser.add_argument('--batch', type=int, help='batch size (default: that of the config)')
    parser.add_argument('--workers', type=int, default=0, help='workers of each loader (default: %(default)s)')
    parser.add_argument('--epochs', type=int, default=4)
    parser.add_argument('--threads', type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.disable(logging.INFO)

    cfg = load_config(args.config)
    import_mmpretrain(cfg)
    cfg.train_cfg.update(type='TimedSearchLoop', max_epochs=args.epochs)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
    loader = cfg.train_dataloader
    loader.update(num_workers=args.workers, persistent_workers=args.workers > 0)
    if args.batch:
        loader.batch_size = args.batch
    if args.images:
        loader.dataset = dict(type='Noise', images=args.images, pipeline=loader.dataset.pipeline, _scope_='mmengine')
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        runner = Runner.from_cfg(cfg)
        runner.train()
    rows = [('epoch', 'seconds', 'in the steps', 'the loop adds')]
    added = [100 * (total - steps) / steps for total, steps in runner.train_loop.epochs]
    for number, ((total, steps), percent) in enumerate(zip(runner.train_loop.epochs, added), start=1):
        rows.append((str(number), f'{total:.2f}', f'{steps:.2f}', f'{percent:.1f} %'))
    print(table(rows))
    if len(added) > 1:
        print(f'Median from the second epoch on: {statistics.median(added[1:]):.1f} %')


if __name__ == '__main__':
    main()
