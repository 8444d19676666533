"""One of two processes of a toy search. test_processes.py starts both, and reads the results from a folder."""

import os
import signal
import sys
from pathlib import Path

import torch
import toy_search
from mmengine.hooks import EMAHook, Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from torch.nn.utils import parameters_to_vector

from mmhoga.cli.run import distributed
from mmhoga.search import SearchError
from mmhoga.search.descent import require_equal_alpha
from mmhoga.search.resume.state import BatchStream
from mmhoga.search.selection.select import Selection

STEPS = {
    'placement': dict(placement=dict(num_groups=(2, 4))),
    'first order': dict(),
    'finite difference, joint': dict(order=2, unroll='joint'),
    'exact, joint': dict(order=2, hessian='exact', unroll='joint'),
    'exact, local': dict(order=2, hessian='exact'),
    'accumulated': dict(accumulative_counts=2),
}


def config(work_dir, accumulative_counts=1, placement=None, **loop):
    """Plain gradient descent on alpha with learning rate 1, so that the update is the gradient."""
    cfg = toy_search.search_config(work_dir)
    cfg.custom_hooks = []
    cfg.model.placement = placement
    cfg.train_cfg.update(loop)
    cfg.optim_wrapper.alpha = dict(optimizer=dict(type='SGD', lr=1.0), accumulative_counts=accumulative_counts)
    return cfg


def build(cfg):
    """A loop in float64, with batch norm in eval mode and SGD with momentum for the weights."""
    runner = Runner.from_cfg(cfg)
    runner._train_loop = loop = runner.build_train_loop(runner._train_loop)
    model = getattr(runner.model, 'module', runner.model).double()
    generator = torch.Generator().manual_seed(0)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():  # positive: variances among them
            tensor.copy_(0.1 + 0.5 * torch.rand(tensor.shape, generator=generator, dtype=torch.float64))
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.model.eval()
    return loop, model


def batches():
    """Two batches of 16 of trainB, then two of trainA."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.rand(4, 16, 1, 8, 8, generator=generator, dtype=torch.float64)
    return [{'inputs': x, 'gt_label': torch.arange(16) % 10} for x in inputs]


def part(data, rank):
    return {key: value[8 * rank : 8 * rank + 8] for key, value in data.items()}


def gradient(loop, model, data):
    """The gradient of alpha, and of beta with a placement, in one update."""
    before = parameters_to_vector(model.alphas).detach()
    count = 2 if loop.runner.optim_wrapper['alpha']._accumulative_counts == 2 else 1
    for i in range(count):
        loop.alpha_step(data[i], data[2 + i])
    return before - parameters_to_vector(model.alphas).detach()


class TerminateSecondProcess(Hook):
    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter == 0 and runner.rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def search(work_dir, wrapper, *hooks, **changes):
    """Train the toy search; returns the runner, and the exit code if SIGTERM stopped it."""
    cfg = toy_search.search_config(work_dir)
    cfg.merge_from_dict({'launcher': 'pytorch', 'experiment_name': work_dir.name + str(changes), **changes})
    cfg.model_wrapper_cfg = wrapper
    cfg.custom_hooks = [dict(type='EMAHook', momentum=0.2, update_buffers=True)]  # each process averages its buffers
    runner = Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    try:
        runner.train()
    except SystemExit as error:
        return runner, error.code
    return runner, None


def main(folder):
    reduced = []
    all_reduce = torch.distributed.all_reduce
    torch.distributed.all_reduce = lambda tensor, *args, **kwargs: (
        reduced.append(tensor.numel()),
        all_reduce(tensor, *args, **kwargs),
    )[1]
    buckets = []

    def counted(_, bucket):
        buckets.append(bucket.buffer().numel())
        return torch.distributed.all_reduce(bucket.buffer(), async_op=True).get_future().then(lambda f: f.value()[0])

    results = {}
    for name, step in STEPS.items():
        cfg = config(folder / name, **step)
        cfg.launcher = 'pytorch'
        if not torch.distributed.is_initialized():
            distributed.prepare(cfg)
            wrapper = cfg.model_wrapper_cfg
        cfg.model_wrapper_cfg = wrapper
        loop, model = build(cfg)
        rank = loop.runner.rank
        # .double() removed the hooks of the first DistributedDataParallel.
        ddp = loop.runner.model = MMDistributedDataParallel(model, broadcast_buffers=False)
        ddp.register_comm_hook(None, counted)
        reduced.clear()
        buckets.clear()
        mine = [part(data, rank) for data in batches()]
        results[name] = {'gradient': gradient(loop, model, mine), 'reduced': list(reduced), 'buckets': list(buckets)}
    results['weights'] = sum(p.numel() for p in model.parameters()) - model.alpha.numel()
    buckets.clear()
    ddp.train_step(mine[0], loop.runner.optim_wrapper['weights'])
    results['buckets of a step on the weights'] = list(buckets)
    results['stop'] = []
    for received in (False, rank == 1):  # only the second process receives SIGTERM
        loop.stop_request.received = received
        reduced.clear()
        results['stop'].append(loop.stop_request.in_any_process())
    results['reduced for the stop'] = list(reduced)
    results['indices'] = [
        [index for _, batch in BatchStream(loader, name, seed=0, epochs=2).order(1) for index in batch]
        for name, loader in (('trainA', loop.dataloader), ('trainB', loop.alpha_dataloader))
    ]
    require_equal_alpha(model.alphas, 1)
    model.alpha.data[0, 0] += 1e-7 * rank
    try:
        require_equal_alpha(model.alphas, 3)
    except SearchError as error:
        results['divergence'] = str(error)
    whole, _ = search(folder / 'whole', wrapper)
    stopped, code = search(folder / 'stopped', wrapper, TerminateSecondProcess())
    resumed, _ = search(folder / 'stopped', wrapper, resume=True)
    results['left with'] = (code, stopped.iter)
    results['states'] = [
        {**runner.model.module.state_dict(), **hook.ema_model.state_dict()}
        for runner in (whole, resumed)
        for hook in runner.hooks
        if isinstance(hook, EMAHook)
    ]
    selections = {
        'score': dict(candidates=4, norm_batches=1),
        'perturbation': dict(batches=1, tune_iterations=1, tune_lr=1.0),
    }
    results['selected'] = {
        method: Selection(method, **options).run(resumed.train_loop, folder / method)[''].to_dict()['edges']
        for method, options in selections.items()
    }
    torch.save(results, folder / f'rank{rank}.pth')
    distributed.leave()


if __name__ == '__main__':
    toy_search.register()
    main(Path(sys.argv[1]))
