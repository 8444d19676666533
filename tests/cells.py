"""Random genotypes and cells for tests."""

import torch

from mmhoga.genotype import PRIMITIVES, Genotype


def random_genotype(num_groups: int, seed: int) -> Genotype:
    generator = torch.Generator().manual_seed(seed)
    picks = iter(torch.randint(len(PRIMITIVES), (64,), generator=generator).tolist())
    return Genotype([[PRIMITIVES[next(picks)] for _ in range(k + 1)] for k in range(num_groups)])


def randomize(module: torch.nn.Module) -> torch.nn.Module:
    """Random weights and statistics, which reveal a wrong order of scales, shifts or statistics."""
    for name, tensor in module.state_dict().items():
        if name.endswith('running_var'):
            tensor.uniform_(0.5, 2)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.5)
    return module
