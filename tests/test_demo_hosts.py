"""configs/demo/ on a few generated pictures: every host trains, resumes, tests and explains errors in the data."""

import json
import logging
from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope

from mmhoga.cli.test import test_main as run_test
from mmhoga.cli.train import train_main
from mmhoga.datasets.synthetic.coco_files import Recipe, write_coco
from mmhoga.hosts import LaunchError, load_config
from mmhoga.models.loading import report_loading

DEMO = Path(__file__).resolve().parent.parent / 'configs' / 'demo'
# Config with HOGA -> a metric that its run reports.
METRICS = {
    'hoga-resnet18_1xb32-10e_shapes': 'accuracy/top1',
    'hoga-ssd_r18_1xb8-20e_shapes': 'coco/bbox_mAP_50',
    'hoga-faster-rcnn_r18_fpn_1xb8-10e_shapes': 'coco/bbox_mAP_50',
    'hoga-td-hm_r18_1xb16-10e_people': 'coco/AP',
}


# Part of a config's name -> its host.
HOSTS = {'resnet18_1xb32': 'mmpretrain', 'ssd': 'mmdet', 'rcnn': 'mmdet', 'td-hm': 'mmpose'}


@pytest.fixture(autouse=True)
def host_is_installed(request):
    """A stack of tests/smoke.py may lack a host."""
    for part, host in HOSTS.items():
        if part in request.node.name:
            pytest.importorskip(host)


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp('demo') / 'data'
    for kind in ('shapes', 'people'):
        write_coco(root / kind, Recipe(kind, train=4, val=2, size=96))
    return root


@pytest.fixture
def folder(pictures, tmp_path, monkeypatch):
    """A user's folder with the data where the configs look for it."""
    (tmp_path / 'data').symlink_to(pictures)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')
    return tmp_path


def eager(name):
    """Options that let an untrained detector find objects, so that there are metrics."""
    return ['model.test_cfg.rcnn.score_thr=0.0'] if 'faster-rcnn' in name else []


def build(name):
    cfg = load_config(str(DEMO / f'{name}.py'))
    init_default_scope(cfg.default_scope)
    return cfg, MODELS.build(cfg.model)


def test_every_config_is_known_here():
    # test_insertion/test_search_any_backbone.py has the networks that are inserted into.
    inserted = {'hoga-rtmdet_1xb8-10e_shapes', 'hoga-td-hm_hrnet_1xb16-10e_people'}
    assert {path.stem for path in DEMO.glob('hoga-*.py')} == {*METRICS, *inserted}


@pytest.mark.parametrize('name', METRICS)
def test_hoga_is_the_only_difference_to_the_plain_config(name):
    with_hoga, plain = (load_config(str(DEMO / f'{stem}.py')) for stem in (name, name.removeprefix('hoga-')))
    (plugin,) = with_hoga.model.backbone.pop('plugins')
    assert plugin == dict(cfg=dict(type='mmhoga.HOGA', genotype='autola'), position='after_conv2')
    assert with_hoga.to_dict() == plain.to_dict()


@pytest.mark.parametrize('name', METRICS)
def test_an_interruption_while_saving_leaves_a_checkpoint(name):
    """mmengine deletes the oldest checkpoint before it writes the new one."""
    assert load_config(str(DEMO / f'{name}.py')).default_hooks.checkpoint.max_keep_ckpts >= 2


@pytest.mark.parametrize('name', METRICS)
def test_train_resume_test(folder, name):
    """One epoch, a second one after a resume, and the checkpoint's metrics once more by the test command."""
    config, work_dir = str(DEMO / f'{name}.py'), folder / 'work'
    arguments = [config, '--work-dir', str(work_dir), '--cfg-options', 'train_dataloader.batch_size=2', *eager(name)]
    before, lines = [], []
    for epochs, resume in ((1, []), (2, ['--resume'])):
        # One process keeps a visualizer, and the files it writes, for as long as its name lives.
        options = [f'train_cfg.max_epochs={epochs}', 'train_cfg.val_interval=1', f'visualizer.name={folder}{epochs}']
        assert train_main([*arguments, *options, *resume]) == 0
        files = sorted(work_dir.glob('*/vis_data/scalars.json'))  # only one if both start in the same second
        before, lines = lines, [line for file in files for line in file.read_text().splitlines()]
    scalars = [json.loads(line) for line in lines[len(before) :]]
    assert {line['epoch'] for line in scalars if 'epoch' in line} == {2}  # the first is not repeated
    value = next(line[METRICS[name]] for line in scalars if METRICS[name] in line)

    options = ['--cfg-options', *eager(name)] if eager(name) else []
    assert run_test([config, str(work_dir / 'epoch_2.pth'), '--out', 'metrics.json', *options]) == 0
    assert json.loads(Path('metrics.json').read_text())[METRICS[name]] == pytest.approx(value, abs=1e-3)


@pytest.mark.parametrize('name', METRICS)
def test_every_parameter_learns(folder, name):
    """In a fresh model, despite zero_init_residual."""
    from mmengine.runner import Runner

    cfg, model = build(name)
    model.init_weights()
    cfg.train_dataloader.batch_size = 4
    batch = next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=0)))
    model.train()
    loss, _ = model.parse_losses(model(**model.data_preprocessor(batch, training=True), mode='loss'))
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    without = [key for key, gradient in gradients.items() if gradient is None]
    assert not without
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())


@pytest.fixture
def log():
    report_loading()
    messages = []

    class Keep(logging.Handler):
        def emit(self, record):
            if 'HOGA weights' in record.getMessage():
                messages.append(record.getMessage())

    logger, handler = MMLogger.get_current_instance(), Keep()
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)
    report_loading()


@pytest.mark.parametrize(
    'detector',
    ['hoga-faster-rcnn_r18_fpn_1xb8-10e_shapes', 'hoga-td-hm_r18_1xb16-10e_people'],
)
def test_a_classifiers_checkpoint_starts_a_detector(tmp_path, log, detector):
    """From a HOGA classifier every key of the backbone matches, and its values arrive; from a plain one, not."""
    backbones = {}
    for name in ('hoga-resnet18_1xb32-10e_shapes', 'resnet18_1xb32-10e_shapes'):
        _, classifier = build(name)
        backbones[name] = classifier.backbone.state_dict()
        torch.save(dict(state_dict=classifier.state_dict()), tmp_path / 'classifier.pth')
        cfg = load_config(str(DEMO / f'{detector}.py'))
        cfg.model.backbone.init_cfg = dict(
            type='Pretrained', checkpoint=str(tmp_path / 'classifier.pth'), prefix='backbone.'
        )
        init_default_scope(cfg.default_scope)
        model = MODELS.build(cfg.model)
        model.init_weights()
        started = model.backbone.state_dict()
        for key, value in backbones[name].items():
            torch.testing.assert_close(started[key], value)
    from_hoga, from_plain = log
    count = [sum('num_batches_tracked' not in key for key in state) for state in backbones.values()]
    cells = count[0] - count[1]
    assert from_hoga == (
        f'HOGA weights: all {cells} keys of 8 cells matched; of the whole backbone, all {count[0]} keys matched.'
    )
    assert from_plain.startswith(
        f'HOGA weights: 0 of {cells} keys matched; 0 of 8 cells are complete; of the whole backbone, {count[1]} of '
        f'{count[0]} keys matched. The checkpoint was trained without HOGA'
    )


@pytest.mark.parametrize('name', METRICS)
def test_missing_data_come_with_the_command_that_makes_them(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')
    kind = name.rpartition('_')[2]
    assert train_main([str(DEMO / f'{name}.py'), '--work-dir', str(tmp_path / 'work')]) == 2
    error = capsys.readouterr().err.rpartition('error: ')[2]
    assert f'looked for {tmp_path}/data/{kind}/annotations/' in error
    assert f'mmhoga make-data {kind} --out data' in error


def broken(folder, name, edit):
    """Write edited training annotations, and return the arguments of a run that reads them."""
    kind, split = name.rpartition('_')[2], 'annotations'
    source = folder / 'data' / kind
    (path,) = (source / split).glob('*_train.json')
    content = edit(json.loads(path.read_text()))
    bad = folder / 'bad.json'
    bad.write_text(content if isinstance(content, str) else json.dumps(content))
    options = [f'train_dataloader.dataset.ann_file={bad}', 'train_cfg.max_epochs=1']
    return [str(DEMO / f'{name}.py'), '--work-dir', str(folder / 'work'), '--cfg-options', *options]


def without(key, entries=None):
    def edit(content):
        for entry in [content] if entries is None else content[entries]:
            entry.pop(key)
        return content

    return edit


def renamed(content):
    for category in content['categories']:
        category['name'] += 's'
    return content


@pytest.mark.parametrize(
    ('name', 'edit', 'message'),
    [
        ('hoga-ssd_r18_1xb8-20e_shapes', without('images'), "it has no list 'images'. Its keys are ['annotations', "),
        ('hoga-ssd_r18_1xb8-20e_shapes', lambda content: content['annotations'], 'it is a list, as detection results'),
        ('hoga-ssd_r18_1xb8-20e_shapes', lambda content: json.dumps(content)[:-9], 'not JSON, or was cut off'),
        ('hoga-ssd_r18_1xb8-20e_shapes', renamed, 'has the categories discs, squares, triangles, but none of'),
        ('hoga-td-hm_r18_1xb16-10e_people', without('annotations'), "it has no list 'annotations'"),
        ('hoga-td-hm_r18_1xb16-10e_people', without('keypoints', 'annotations'), 'person_keypoints_*.json'),
        ('hoga-resnet18_1xb32-10e_shapes', without('categories'), "it has no list 'categories'"),
    ],
)
def test_annotations_that_are_not_coco(folder, capsys, name, edit, message):
    assert train_main(broken(folder, name, edit)) == 2
    error = capsys.readouterr().err.rpartition('error: ')[2]
    assert error.startswith(f'{folder}/bad.json')
    assert message in error
    assert 'train_dataloader.dataset.' in error


def test_the_hosts_message_about_an_annotation_comes_with_the_key_of_the_data_set(folder, capsys):
    assert train_main(broken(folder, 'hoga-ssd_r18_1xb8-20e_shapes', without('bbox', 'annotations'))) == 2
    assert "train_dataloader.dataset.type = 'CocoDataset': KeyError: bbox" in capsys.readouterr().err


@pytest.mark.parametrize(
    ('folders', 'message'),
    [
        ([], 'data/imagenet/train contains no class folders. Pictures are expected at {root}/train/<class>/'),
        (['n01440764', 'n01443537'], 'The number of subfolders (2)'),
        ([f'n{i:08}' for i in range(1000)], 'Found 0 files in'),
    ],
    ids=['none', 'two', 'empty'],
)
def test_an_empty_imagenet(tmp_path, monkeypatch, capsys, folders, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')
    root = tmp_path / 'data/imagenet'
    for folder in ['train', 'val', 'val/n01440764', *(f'train/{name}' for name in folders)]:
        (root / folder).mkdir(parents=True)
    config = str(DEMO.parent / 'imagenet' / 'hoga-resnet50_8xb32_in1k.py')
    assert train_main([config, '--cfg-options', 'model.backbone.depth=18']) == 2
    error = capsys.readouterr().err.rpartition('error: ')[2]
    assert message.format(root=root) in error
    assert 'train_dataloader.dataset' in error


@pytest.mark.parametrize(
    'name', ['configs/demo/td-hm_r18_1xb16-10e_figures.py', 'hoga-search_simple-baseline_r18_1xb16-6e_figures']
)
def test_the_old_name_of_a_config_leads_to_the_new_one(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LaunchError, match=Path(name).stem.replace('figures', 'people')):
        load_config(name)
