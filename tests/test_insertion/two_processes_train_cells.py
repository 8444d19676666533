"""One of two processes that train the cells of a network. test_forms.py starts both, which compare with one process."""

import copy
import sys

import torch
import torch.distributed as dist
from cells import randomize
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import mmhoga
from mmhoga.insertion import train_only


def train(form, network, images):
    """Two steps, with the statistics of the norms fixed, so that two processes can equal one."""
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        form(images).square().mean().backward()
        optimizer.step()
    return network.state_dict()


def main(file, rank):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{file}', rank=rank, world_size=2)
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    network = mmhoga.insert(randomize(plain).eval(), dict(type='mmhoga.HOGA', genotype='hog_se'), after='1|3')
    train_only(network, 'cells').double()
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    before, joint = copy.deepcopy(network.state_dict()), copy.deepcopy(network)
    expected = train(joint, joint, images)
    state = train(DistributedDataParallel(network), network, images[rank::2])
    torch.testing.assert_close(state, expected, rtol=1e-9, atol=1e-12)
    changed = [name for name in state if not torch.equal(state[name], before[name])]
    assert changed and all('.hoga.' in name for name in changed), changed
    dist.destroy_process_group()


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]))
