"""Every config: its model builds and gets gradients from its own heads and losses, and its recipe is the paper's."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, TRANSFORMS, init_default_scope
from mmengine.structures import InstanceData, PixelData

from mmhoga.cli.paper import read_costs, read_tables, unique_rows
from mmhoga.hosts import leaves, load_config

pytest.importorskip('mmdet')
pytest.importorskip('mmpose')
pytest.importorskip('mmpretrain')
pytest.importorskip('timm')

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted(path for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts)
COSTS = read_costs()


def name_of(path):
    return f'{path.parent.name}/{path.stem}'


@pytest.mark.parametrize('folder', ['detection', 'pose', 'finetune', 'demo'])
def test_configs_of_mmdet_and_mmpose_import_mmhoga(folder):
    """With mmcv-lite, the own tools of these hosts find no compiled operations without it."""
    configs = [load_config(str(path)) for path in (ROOT / 'configs' / folder).glob('*.py')]
    needy = [cfg for cfg in configs if cfg.default_scope in ('mmdet', 'mmpose')]
    assert needy and all('mmhoga' in cfg.custom_imports.imports for cfg in needy)


def load(path):
    """Load a config. A genotype that a search has yet to write is replaced by one of the same size."""
    cfg = load_config(str(path))
    init_default_scope(cfg.default_scope)
    searched = {key: value for key, value in leaves(cfg.model) if key.endswith('.genotype') and value.endswith('.json')}
    for key, value in searched.items():
        folder, name = Path(value).parts[-2:]
        assert name == 'genotype.json'
        search = load_config(str(ROOT / 'configs' / 'search' / f'{folder}.py'))  # the search that writes this folder
        groups = MODELS.build(search.model).num_groups
        rows = [['se'] * (k + 1) for k in range(groups)]
        cfg.merge_from_dict({f'model.{key}': rows})
    if 'data_preprocessor' in cfg:  # as mmengine's Runner does
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return cfg


def architecture(cfg):
    """The host's model, without the search model that may wrap it."""
    return cfg.model.get('architecture', cfg.model)


def image(channels, height, width):
    return torch.randint(0, 256, (channels, height, width), dtype=torch.uint8)


def classified(cfg):
    from mmpretrain.structures import DataSample

    model = architecture(cfg)
    channels = model.backbone.get('in_channels', 3)
    if "'name': 'ge'" in str(cfg.model.to_dict()):
        size = 224  # a learned gather has one size
    else:
        size = 8 if model.backbone.type.startswith('mmhoga.CIFAR') else 64
    samples = [DataSample().set_gt_label(label) for label in (0, 2)]
    return dict(inputs=[image(channels, size, size) for _ in samples], data_samples=samples)


def detected(cfg):
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    head = architecture(cfg).get('bbox_head', {})
    size = head.anchor_generator.input_size if head.get('type') == 'SSDHead' else 96
    samples = []
    for _ in range(2):
        box = torch.tensor([[size * 0.2, size * 0.3, size * 0.7, size * 0.9]])
        sample = DetDataSample(
            metainfo=dict(
                img_shape=(size, size),
                ori_shape=(size, size),
                pad_shape=(size, size),
                batch_input_shape=(size, size),
                scale_factor=(1.0, 1.0),
            )
        )
        sample.gt_instances = InstanceData(bboxes=box, labels=torch.tensor([1]))
        if 'roi_head' in architecture(cfg):
            mask = torch.ones(size, size, dtype=torch.uint8).numpy()
            sample.gt_instances.masks = BitmapMasks([mask], size, size)
        sample.ignored_instances = InstanceData(bboxes=box[:0], labels=torch.zeros(0, dtype=torch.long))
        samples.append(sample)
    return dict(inputs=[image(3, size, size) for _ in samples], data_samples=samples)


def posed(cfg):
    from mmpose.structures import PoseDataSample

    head = architecture(cfg).head
    codec, points = head.decoder, head.out_channels
    if codec.type == 'SimCCLabel':
        return posed_by_coordinates(codec, points)
    stride = codec.input_size[0] // codec.heatmap_size[0]
    samples = []
    for _ in range(2):
        sample = PoseDataSample(metainfo=dict(input_size=(64, 64)))
        sample.gt_instance_labels = InstanceData(keypoint_weights=torch.ones(1, points))
        sample.gt_fields = PixelData(heatmaps=torch.rand(points, 64 // stride, 64 // stride))
        samples.append(sample)
    return dict(inputs=[image(3, 64, 64) for _ in samples], data_samples=samples)


def posed_by_coordinates(codec, points):
    """For a head that classifies x and y, whose input has a fixed size."""
    from mmpose.structures import PoseDataSample

    width, height = codec.input_size
    samples = []
    for _ in range(2):
        sample = PoseDataSample(metainfo=dict(input_size=codec.input_size))
        sample.gt_instance_labels = InstanceData(
            keypoint_weights=torch.ones(1, points),
            keypoint_x_labels=torch.rand(1, points, int(width * codec.simcc_split_ratio)).softmax(-1),
            keypoint_y_labels=torch.rand(1, points, int(height * codec.simcc_split_ratio)).softmax(-1),
        )
        samples.append(sample)
    return dict(inputs=[image(3, height, width) for _ in samples], data_samples=samples)


SAMPLES = dict(mmpretrain=classified, mmdet=detected, mmpose=posed)


@pytest.mark.parametrize('path', CONFIGS, ids=name_of)
def test_config(path):
    """One test, because loading a config takes longer than checking it."""
    cfg = load(path)
    check_name(cfg, path)
    if recipe := recipe_of(name_of(path)):
        check_recipe(cfg, recipe)
    check_gradients(cfg, path)


def check_gradients(cfg, path):
    """One forward, loss and backward: every trainable parameter gets a finite gradient."""
    if 'rcnn' in architecture(cfg).get('train_cfg', {}):  # 1000 regions of a tiny image take too long
        architecture(cfg).train_cfg.rpn_proposal.max_per_img = 16
        architecture(cfg).train_cfg.rcnn.sampler.num = 16
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).train()  # as mmengine's Runner does without a GPU
    if cost := COSTS.get(path.relative_to(ROOT / 'configs').as_posix()):
        assert sum(p.numel() for p in model.parameters()) == cost['params']
    if path.parent.name == 'finetune':
        check_fine_tuning(cfg, path, model)
    data = model.data_preprocessor(SAMPLES[cfg.default_scope](cfg), training=True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    assert loss.isfinite()
    assert loss > 0
    loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def datasets(node):
    """A data loader's dataset, and those inside wrappers."""
    yield node
    if 'dataset' in node:
        yield from datasets(node.dataset)


def check_name(cfg, path):
    """GPUs, batch size and epochs are those in the name, and all transforms exist."""
    if match := re.search(r'[_-](\d+)xb(\d+)', path.stem):
        gpus, batch_size = map(int, match.groups())
        assert cfg.train_dataloader.batch_size == batch_size
        if 'auto_scale_lr' in cfg:
            assert cfg.auto_scale_lr.base_batch_size == gpus * batch_size
    if match := re.search(r'-(\d+)e_', path.stem):
        assert cfg.train_cfg.max_epochs == int(match[1])
    for loader in filter(None, (cfg.get(f'{stage}_dataloader') for stage in ('train', 'val', 'test'))):
        for dataset in datasets(loader.dataset):
            for transform in dataset.get('pipeline', []):
                TRANSFORMS.build(transform)


# From the supplement, and for the search from section 4.2. The paper gives neither momentum, weight decay and batch for
# ImageNet nor the decay of the learning rate for CIFAR.
# batch: on all GPUs; steps: epochs after which the learning rate is divided by 10; warmup: None for no warm-up.
SGD = dict(type='SGD', momentum=0.9)
CIFAR = dict(optimizer=dict(SGD, lr=0.1, weight_decay=5e-4), epochs=500, steps='cosine to 0', warmup=None)
RECIPES = {
    'cifar10/': dict(CIFAR, batch=256),
    'cifar100/': dict(CIFAR, batch=128),
    'imagenet/': dict(
        optimizer=dict(SGD, lr=0.1, weight_decay=1e-4), epochs=100, batch=256, steps=[30, 60, 90], warmup=None
    ),
    'detection/ssd300': dict(
        optimizer=dict(SGD, lr=0.01, weight_decay=5e-4), epochs=65, batch=128, steps=[43, 54], warmup=(1, 'epoch')
    ),
    'detection/faster-rcnn': dict(
        optimizer=dict(SGD, lr=0.01, weight_decay=1e-4), epochs=14, batch=8, steps=[8, 11], warmup=(500, 'iterations')
    ),
    'pose/': dict(optimizer=dict(type='Adam', lr=1e-3), epochs=140, batch=128, steps=[90, 120], warmup=None),
    'search/hoga-search_resnet20': dict(
        optimizer=dict(SGD, lr=0.025, weight_decay=3e-4), epochs=100, batch=128, steps='cosine to 0.001', warmup=None
    ),
}
RECIPES |= {
    f'search/hoga-search{k}_resnet{depth}_': RECIPES['search/hoga-search_resnet20']
    for k in ('', '-k2', '-k8')
    for depth in (20, 56)
}


def recipe_of(name):
    return next((recipe for prefix, recipe in RECIPES.items() if name.startswith(prefix)), None)


def test_every_row_of_the_paper_has_a_recipe():
    for table, row in unique_rows(read_tables()):
        in_paper = isinstance(table['key'], int) or table['key'] == 'search'
        assert (recipe_of(row['config']) is not None) == in_paper, row['config']


def check_recipe(cfg, recipe):
    wrapper = cfg.optim_wrapper.get('weights', cfg.optim_wrapper)
    optimizer = {key: value for key, value in wrapper.optimizer.items() if key != '_scope_'}
    assert optimizer == recipe['optimizer']
    assert cfg.train_cfg.max_epochs == recipe['epochs']
    assert cfg.auto_scale_lr.base_batch_size == recipe['batch']
    warmup, decay = warmup_and_decay(cfg)
    assert decay == recipe['steps']
    assert warmup == recipe['warmup']


def warmup_and_decay(cfg):
    """The warm-up as (length, unit), and the decay of the learning rate."""
    schedulers = cfg.param_scheduler
    schedulers = schedulers.get('weights', schedulers) if isinstance(schedulers, dict) else schedulers
    warmup = decay = None
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        if scheduler.type == 'LinearLR':
            assert warmup is None
            assert scheduler.begin == 0
            warmup = (scheduler.end, 'epoch' if scheduler.by_epoch else 'iterations')
        else:
            assert decay is None
            assert scheduler.by_epoch
            if scheduler.type == 'MultiStepLR':
                assert scheduler.gamma == 0.1
                decay = scheduler.milestones
            else:
                assert scheduler.type == 'CosineAnnealingLR'
                assert scheduler.T_max == cfg.train_cfg.max_epochs
                decay = f'cosine to {scheduler.get("eta_min", 0)}'
    return warmup, decay


def check_fine_tuning(cfg, path, model):
    """URL and accuracy are those of the host's metafile; the cells have 10 times the other learning rates."""
    host = Path(importlib.util.find_spec(cfg.default_scope).origin).parent
    base = re.search(r"_base_ = '\w+::(.*)'", path.read_text())[1]
    (entry,) = metafile_entries(host / '.mim' / 'configs' / base)
    assert cfg.load_from == entry['Weights']
    metrics = [value for result in entry['Results'] for value in result['Metrics'].values()]
    accuracy = float(re.search(r'Base:  ([\d.]+) ', path.read_text())[1])
    assert any(accuracy == pytest.approx(scale * float(value)) for value in metrics for scale in (1, 100))
    assert 'Pretrained' not in [value for _, value in leaves(cfg.model)]  # nothing else to download
    for hook in cfg.custom_hooks:
        HOOKS.build(hook)

    cells_only = 'cells-only' in path.stem
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    rates = {id(parameter): group['lr'] for group in groups for parameter in group['params']}
    for name, parameter in model.named_parameters():
        in_cell = '.hoga.' in name
        assert parameter.requires_grad or not in_cell, name
        assert not (cells_only and parameter.requires_grad) or in_cell, name
        if parameter.requires_grad:
            factor = 10 if in_cell and not cells_only else 1
            assert rates[id(parameter)] == pytest.approx(factor * cfg.optim_wrapper.optimizer.lr), name


def metafile_entries(config):
    """The entries of a host's metafile for one of its configs."""
    for file in config.parent.glob('*.yml'):
        models = yaml.safe_load(file.read_text(encoding='utf-8'))
        for entry in models['Models'] if isinstance(models, dict) else models:
            if entry['Name'] == config.stem:
                yield entry


@pytest.mark.parametrize('attention', ['', '-se', '-cbam', '-hoga'])
def test_ssd_does_not_decay_batch_norms_and_biases(attention):
    cfg = load(ROOT / 'configs' / 'detection' / f'ssd300_r50{attention}_4xb32-65e_coco.py')
    with torch.device('meta'):  # shapes without numbers
        model = MODELS.build(cfg.model)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    decay = {id(parameter): group['weight_decay'] for group in groups for parameter in group['params']}
    assert len(decay) == len(list(model.parameters()))
    norms = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
        for parameter in module.parameters()
    }
    for name, parameter in model.named_parameters():
        exempt = id(parameter) in norms or name.endswith('.bias')
        assert decay[id(parameter)] == (0 if exempt else 5e-4), name


def test_faster_rcnn_decays_all_parameters():
    cfg = load(ROOT / 'configs' / 'detection' / 'faster-rcnn_r50-hoga_fpn_4xb2-14e_coco.py')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    assert {group['weight_decay'] for group in groups} == {1e-4}


def test_ssd_has_the_original_maps_and_boxes():
    """Maps of 38, 19, 10, 5, 3 and 1, and 8732 boxes with the steps and sizes of Liu et al. (2016)."""
    cfg = load(ROOT / 'configs' / 'detection' / 'ssd300_r50-hoga_4xb32-65e_coco.py')
    model = MODELS.build(cfg.model).eval()
    with torch.no_grad():
        maps = [tuple(x.shape[-2:]) for x in model.extract_feat(torch.zeros(1, 3, 300, 300))]
    assert maps == [(n, n) for n in (38, 19, 10, 5, 3, 1)]
    generator = model.bbox_head.prior_generator
    assert sum(map(len, generator.grid_priors(maps, device='cpu'))) == 8732
    assert [stride[0] for stride in generator.strides] == [8, 16, 32, 64, 100, 300]
    squares = [(anchors[:2, 2] - anchors[:2, 0]).tolist() for anchors in generator.base_anchors]
    sizes = (21, 45, 99, 153, 207, 261, 315)
    for square, size, larger in zip(squares, sizes, sizes[1:]):
        assert square == pytest.approx([size, (size * larger) ** 0.5])


def test_ssd_pipeline_gives_images_of_300_with_their_boxes():
    import numpy as np
    from mmcv.transforms import Compose

    cfg = load(ROOT / 'configs' / 'detection' / 'ssd300_r50_4xb32-65e_coco.py')
    loading, *rest = cfg.train_dataloader.dataset.pipeline
    assert loading.type == 'LoadImageFromFile'
    assert not {'Expand'} & {transform.type for transform in rest}
    assert cfg.train_dataloader.dataset.type == 'CocoDataset'  # no RepeatDataset
    results = dict(
        img=np.full((200, 100, 3), 128, np.uint8),
        img_shape=(200, 100),
        ori_shape=(200, 100),
        img_id=0,
        img_path='',
        instances=[dict(bbox=[20.0, 40.0, 60.0, 120.0], bbox_label=7, ignore_flag=0)],
    )
    packed = Compose(rest)(results)
    assert packed['inputs'].shape == (3, 300, 300)
    assert packed['data_samples'].gt_instances.labels.tolist() == [7]


@pytest.mark.parametrize('attention', ['', 'se-', 'cbam-', 'hoga-'])
def test_detectors_and_pose_start_from_the_classifier_with_the_same_attention(attention):
    """init_cfg is the last checkpoint of the classifier's config, and it has every key of the backbone."""
    infix = f'-{attention[:-1]}' if attention else ''
    classifier = load(ROOT / 'configs' / 'imagenet' / f'{attention}resnet50_8xb32_in1k.py')
    assert classifier.train_cfg.max_epochs == 100
    with torch.device('meta'):
        there = MODELS.build(classifier.model).backbone.state_dict()
    for config in (
        f'detection/ssd300_r50{infix}_4xb32-65e_coco',
        f'detection/faster-rcnn_r50{infix}_fpn_4xb2-14e_coco',
        f'pose/td-hm_{attention}res50_dark-4xb32-140e_coco-256x192',
    ):
        cfg = load(ROOT / 'configs' / f'{config}.py')
        start = cfg.model.backbone.init_cfg
        assert start.type == 'Pretrained'
        assert start.prefix == 'backbone.'
        assert start.checkpoint == f'work_dirs/{attention}resnet50_8xb32_in1k/epoch_100.pth'
        with torch.device('meta'):
            backbone = MODELS.build(dict(cfg.model.backbone, init_cfg=None))
        for key, value in backbone.state_dict().items():
            assert there[key].shape == value.shape, key


def test_random_hoga_is_drawn_with_seed_0():
    import random

    from mmhoga.genotype import PRIMITIVES

    cfg = load(ROOT / 'configs' / 'cifar10' / 'hoga-random-resnet20_1xb256-500e_cifar10.py')
    rng = random.Random(0)
    expected = [[rng.choice(PRIMITIVES[1:]) for _ in range(k + 1)] for k in range(4)]
    assert cfg.model.backbone.plugins[0].cfg.genotype == expected
