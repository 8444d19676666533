"""grad-cam, attention-maps, selectivity and tsne on checkpoints of every host: output files and messages."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from made_up_runs import train_row, write_run_log
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from processes import in_two_processes
from small_configs import CLASSIFIER, DETECTOR, PLUGIN, POSE, TWO_STAGE

from mmhoga.cli.looks.features import selectivity_main, tsne_main
from mmhoga.cli.looks.images import attention_maps_main, display, from_files, grad_cam_main
from mmhoga.cli.looks.networks import batch, load_network
from mmhoga.cli.main import main
from mmhoga.report.costs import network_complexity
from mmhoga.report.report import report_from_work_dirs


def write_model(folder, name, text):
    """A config and a checkpoint of its model with random weights."""
    config, checkpoint = folder / f'{name}.py', folder / f'{name}.pth'
    config.write_text(text)
    cfg = Config.fromfile(config)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.kaiming_normal_(parameter)
    meta = {'dataset_meta': {'classes': tuple('0123456789')}} if name.startswith('c') else {}
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, checkpoint)
    return [str(config), str(checkpoint)]


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp('models')
    classifier = CLASSIFIER.replace('INDICES', '120')
    return {
        'hoga': write_model(folder, 'classifier', classifier.replace('PLUGINS', PLUGIN)),
        'plain': write_model(folder, 'cplain', classifier.replace('PLUGINS', '')),
        'detector': write_model(folder, 'detector', DETECTOR),
        'pose': write_model(folder, 'pose', POSE),
        'two-stage': write_model(folder, 'two_stage', TWO_STAGE),
    }


@pytest.fixture(scope='module')
def image(tmp_path_factory):
    """A red square on blue, 60 high and 90 wide."""
    path = tmp_path_factory.mktemp('images') / 'square.png'
    pixels = np.zeros((60, 90, 3), dtype=np.uint8)
    pixels[..., 0] = 200  # OpenCV's order: blue
    pixels[15:40, 20:50] = (0, 0, 220)
    cv2.imwrite(str(path), pixels)
    return str(path)


def exit_code(main, arguments):
    try:
        return main(arguments)
    except SystemExit as error:  # argparse
        return error.code


def read(out):
    assert out.stat().st_size > 1000
    with np.load(out.with_suffix('.npz')) as arrays:
        return dict(arrays), json.loads(out.with_suffix('.json').read_text())


def test_grad_cam_of_two_classifiers(models, tmp_path, capsys):
    out = tmp_path / 'cam.png'
    both = ['--model', 'plain', *models['plain'], '--model', 'HOGA', *models['hoga']]
    assert grad_cam_main([*both, '--samples', '3', '0', '--out', str(out), '--device', 'cpu']) == 0
    assert capsys.readouterr().out.split() == [str(out.with_suffix(suffix)) for suffix in ('.npz', '.json', '.png')]
    arrays, facts = read(out)
    for name in ('plain', 'HOGA'):
        for index in range(2):
            assert arrays[f'{name}/grad_cam/{index}'].shape == (8, 8)
            assert arrays[f'{name}/guided/{index}'].shape == (1, 8, 8)
            assert (arrays[f'{name}/grad_cam/{index}'] >= 0).all()
    assert [result['layer'] for result in facts['results']] == ['backbone.layer3'] * 2
    assert facts['images'] == ['sample 3', 'sample 0']
    assert 0 < facts['results'][1]['images'][0]['probability'] < 1
    assert facts['models'][0]['checkpoint'] == models['plain'][1]


@pytest.mark.parametrize(
    'host, size, classes, layer',
    [
        ('detector', (48, 72), 3, 'backbone.layer4'),
        ('two-stage', (48, 72), 3, 'backbone.layer4'),
        ('pose', (96, 64), 5, 'backbone.layer4'),
    ],
)
def test_detectors_and_pose_models(models, image, tmp_path, host, size, classes, layer):
    """An image of any size goes through the pipeline of the host; padding is cropped."""
    out = tmp_path / 'cam.pdf'
    common = ['--images', image, '--device', 'cpu']
    assert grad_cam_main(['--model', host, *models[host], *common, '--class', '2', '--out', str(out)]) == 0
    arrays, facts = read(out)
    assert arrays[f'{host}/grad_cam/0'].shape == size
    assert arrays[f'{host}/guided/0'].shape == (3, *size)
    assert np.abs(arrays[f'{host}/guided/0']).max() > 0
    assert facts['results'][0]['layer'] == layer
    assert 'probability' not in facts['results'][0]['images'][0]
    out = tmp_path / 'gates.png'
    assert attention_maps_main([*models[host], *common, '--layer', 'backbone.layer3.1.hoga', '--out', str(out)]) == 0
    arrays, facts = read(out)
    assert arrays['gate/o_1_1'].shape[:2] == (1, 8)
    assert facts['cell'] == 'backbone.layer3.1.hoga'
    assert facts['mean_gates']['o_0_0'] == [1.0]  # a skip


def test_colours_and_padding(models, image):
    """Red is red in the figure, whatever channel order the host loads."""
    network = load_network(models['detector'])
    (picture,) = from_files(network, [image])
    shown = display(network, picture)
    assert shown.shape == (48, 72, 3)
    assert shown[20, 28].argmax() == 0 and shown[2, 2].argmax() == 2
    inputs, _ = batch(network, [picture])
    assert inputs.shape == (1, 3, 64, 96)
    torch.testing.assert_close(inputs[0, 2, 2, 2].item(), (shown[2, 2, 2] * 255 - 103.53) / 57.375, rtol=1e-4, atol=0)


def test_a_network_with_one_channel_takes_colour_files_of_any_size(models, image):
    network = load_network(models['plain'])
    (picture,) = from_files(network, [image])
    assert display(network, picture).shape == (60, 90)
    assert network.scores(*batch(network, [picture])).shape == (1, 10)


def test_one_report_of_runs_of_three_hosts(models, tmp_path):
    """Their metrics differ, so the report needs --metric; parameters and MACs are there for all."""
    metrics = {'hoga': 'accuracy/top1', 'detector': 'coco/bbox_mAP', 'pose': 'coco/AP'}
    networks = {}
    for name, key in metrics.items():
        rows = [train_row(step, step, 2.0 / step) for step in (1, 2)] + [{key: 0.25, 'step': 2}]
        networks[name] = [write_run_log(tmp_path / name, rows, config=Path(models[name][0]).read_text())]
    shape = (3, 64, 64)
    html = report_from_work_dirs(
        tmp_path / 'r.html', networks={k: v for k, v in networks.items() if k != 'hoga'}, shape=shape
    ).read_text()
    for name in ('detector', 'pose'):
        assert f'>{network_complexity(models[name][0], None)[0]:,}<' in html
    assert 'data-label="MACs">not measured' not in html
    assert 'box AP' in html and '50.0 ms' in html
    html = report_from_work_dirs(tmp_path / 'r.html', networks=networks, metric='coco/AP').read_text()
    assert 'keypoint AP' in html and 'hoga' in html


def selectivity(arguments, out):
    assert selectivity_main([*arguments, '--out', str(out), '--device', 'cpu']) == 0
    arrays, facts = read(out)
    return {key: value for key, value in arrays.items() if key.endswith('/selectivity')}, facts


def test_selectivity_is_the_same_for_every_batch_size_and_number_of_processes(models, tmp_path, root):
    both = ['--model', 'plain', *models['plain'], '--model', 'HOGA', *models['hoga']]
    expected, facts = selectivity([*both, '--batch-size', '64'], tmp_path / 'a.png')
    assert list(expected) == [f'{m}/backbone.layer{i}/selectivity' for m in ('plain', 'HOGA') for i in (1, 2, 3)]
    assert facts['results'][0]['images'] == 120
    for value in expected.values():
        assert ((value >= 0) & (value <= 1)).all() and value.max() > 0.05
    for key, value in selectivity([*both, '--batch-size', '7'], tmp_path / 'b.png')[0].items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-4, atol=1e-6)

    out = tmp_path / 'two.png'
    command = ['-m', 'mmhoga', 'selectivity', '--launcher', 'pytorch', *both[-4:], '--out', out, '--device', 'cpu']
    first, second = in_two_processes(*command, PYTHONPATH=str(root))
    assert first.count('two.png') == 1 and 'two.png' not in second
    arrays, facts = read(out)
    assert facts['results'][0]['images'] == 120
    layers = [key for key in expected if key.startswith('HOGA/')]
    assert len(layers) == 3
    for key in layers:
        np.testing.assert_allclose(arrays[key], expected[key], rtol=1e-4, atol=1e-6)


def test_a_class_without_samples(models, tmp_path, capsys):
    config, checkpoint = models['plain']
    few = ['--model', 'plain', config, checkpoint, '--cfg-options', 'test_dataloader.dataset.indices=5']
    assert selectivity_main([*few, '--out', str(tmp_path / 'a.png'), '--device', 'cpu']) == 2
    error = capsys.readouterr().err
    assert 'of 10 classes have no image in the data set: 1 (1)' in error and '--skip-empty-classes' in error
    _, facts = selectivity([*few, '--skip-empty-classes'], tmp_path / 'b.png')
    assert 1 in facts['results'][0]['classes_without_images']


def test_tsne(models, tmp_path):
    out = tmp_path / 'tsne.png'
    arguments = ['--model', 'plain', *models['plain'], '--max-samples', '60', '--perplexity', '8', '--device', 'cpu']
    assert tsne_main([*arguments, '--out', str(out)]) == 0
    arrays, facts = read(out)
    assert arrays['plain/points'].shape == (60, 2)
    assert arrays['plain/features'].shape == (60, 32)
    assert facts['results'][0]['neighbour_score'] > 0.3  # of a random network; chance is 0.1
    again = tmp_path / 'again.png'
    assert tsne_main([*arguments, '--out', str(again), '--batch-size', '60']) == 0
    assert np.array_equal(read(again)[0]['plain/points'], arrays['plain/points'])


def test_a_work_dir_is_enough(models, tmp_path):
    work_dir = tmp_path / 'run'
    work_dir.mkdir()
    config, checkpoint = models['hoga']
    (work_dir / 'any.py').write_text(Path(config).read_text())
    (work_dir / 'last_checkpoint').write_text(checkpoint)
    out = tmp_path / 'a.png'
    assert attention_maps_main([str(work_dir), '--samples', '1', '2', '--out', str(out), '--device', 'cpu']) == 0
    arrays, facts = read(out)
    assert facts['cell'] == 'backbone.layer1.0.hoga'
    assert arrays['images'].shape == (2, 8, 8)


SMALL = 'small.png'
BAD = {
    'layer': (['--layer', 'backbone.layer33'], r"no layer 'backbone.layer33'. Similar names: backbone.layer3"),
    'class': (['--class', '10'], 'There is no class 10: this model has the classes 0 to 9'),
    'sample': (['--samples', '120'], '--samples 120: the data set of m has samples 0 to 119'),
    'no image file': (['--images', 'nowhere.png'], 'there is no image nowhere.png'),
    'unreadable image': (['--images', 'BROKEN'], r'broken.png (4 bytes) cannot be read as an image'),
    'suffix': (['--out', 'x.gif'], '--out: the name must end in .png or .pdf, not x.gif'),
    'folder': (['--out', 'nowhere/x.png'], '--out: nowhere is not a folder that can be written to'),
}


@pytest.mark.parametrize('arguments, message', BAD.values(), ids=BAD)
def test_bad_input(models, tmp_path, capsys, arguments, message):
    broken = tmp_path / 'broken.png'
    broken.write_bytes(b'\x89PNG')
    arguments = [str(broken) if argument == 'BROKEN' else argument for argument in arguments]
    out = tmp_path / 'cam.png'
    command = ['--model', 'm', *models['plain'], '--device', 'cpu', '--out', str(out), *arguments]
    assert exit_code(grad_cam_main, command) == 2
    assert message in capsys.readouterr().err
    assert not out.exists() and not out.with_suffix('.npz').exists()


PLAIN_WITH = ['--model', 'm', 'plain.py', 'plain.pth', '--cfg-options']
MISFITS = {
    'another network': (['--model', 'm', 'plain.py', 'hoga.pth'], 'unexpected key in source state_dict: backbone.'),
    'no attention in it': (['--model', 'm', 'hoga.py', 'plain.pth'], 'missing keys in source state_dict: backbone.'),
    'another width': (
        ['--model', 'm', 'plain.py', 'plain.pth', '--cfg-options', 'model.head.num_classes=7'],
        'size mismatch for head.fc.weight: copying a param with shape torch.Size([10, 32]) from checkpoint',
    ),
    'not a checkpoint': (
        ['--model', 'm', 'plain.py', 'plain.py'],
        'plain.py cannot be read as a checkpoint: torch.save',
    ),
    'not there': (['--model', 'm', 'plain.py', 'nowhere.pth'], 'there is no checkpoint nowhere.pth'),
    'a work_dir without a run': (['--model', 'm', 'FOLDER'], 'has no checkpoint (last_checkpoint)'),
    'one file': (['--model', 'm', 'plain.pth'], '--model m: give a work_dir, or a config and a checkpoint, not: /'),
    'only a name': (['--model', 'm'], '--model m: give a work_dir, or a config and a checkpoint, not: nothing'),
    'no work_dir': (['--model', 'm', 'nowhere'], '--model m: there is no work_dir nowhere'),
    'no config': (['--model', 'm', 'nowhere.py', 'plain.pth'], 'there is no config nowhere.py'),
    'twice': (['--model', 'm', 'plain.py', 'plain.pth', '--model', 'm', 'x', 'y'], 'two models have the same name'),
    'unknown type': ([*PLAIN_WITH, 'model.type=Nonsense'], "model.type = 'Nonsense': KeyError: Nonsense is not in"),
    'unknown argument': (
        [*PLAIN_WITH, 'model.backbone.wrong=9'],
        "model.backbone.type = 'mmhoga.CIFARResNet': TypeError: ",
    ),
    'unknown data': (
        [*PLAIN_WITH, 'test_dataloader.dataset.type=X'],
        "test_dataloader.dataset.type = 'X': KeyError: X is not in",
    ),
    'bad genotype': (
        ['--model', 'm', 'hoga.py', 'hoga.pth', '--cfg-options', 'model.backbone.plugins.0.cfg.genotype=autolaa'],
        "Unknown genotype 'autolaa'. Did you mean 'autola'?",
    ),
    'device': (['--model', 'm', 'plain.py', 'plain.pth', '--device', 'foo'], '--device foo: '),
    'no samples': (
        ['--model', 'm', 'plain.py', 'plain.pth', '--max-samples', '0'],
        '--max-samples: must be a positive integer, not 0',
    ),
    'perplexity': (
        ['--model', 'm', 'plain.py', 'plain.pth', '--max-samples', '9'],
        'perplexity = 30 must',
    ),
    'layer': (
        ['--model', 'm', 'plain.py', 'plain.pth', '--layer', 'head.fcc'],
        "'head.fcc'. Similar names: head.fc",
    ),
    'another data set': (
        ['--model', 'm', 'plain.py', 'plain.pth', '--model', 'd', 'shorter.py', 'plain.pth'],
        'd and m have different test data',
    ),
}


@pytest.mark.parametrize('arguments, message', MISFITS.values(), ids=MISFITS)
def test_models_that_cannot_be_used(models, tmp_path, capsys, arguments, message):
    files = {f'{name}.{suffix}': path for name, paths in models.items() for suffix, path in zip(('py', 'pth'), paths)}
    files['FOLDER'] = str(tmp_path)
    files['shorter.py'] = str(tmp_path / 'shorter.py')
    shorter = Path(models['plain'][0]).read_text().replace('indices=120', 'indices=100')
    (tmp_path / 'shorter.py').write_text(shorter)
    arguments = [files.get(argument, argument) for argument in arguments]
    assert exit_code(tsne_main, ['--device', 'cpu', '--out', str(tmp_path / 'a.png'), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_no_hoga_in_the_network(models, tmp_path, capsys):
    assert attention_maps_main([*models['plain'], '--device', 'cpu', '--out', str(tmp_path / 'a.png')]) == 2
    assert 'ImageClassifier has no HOGA cell' in capsys.readouterr().err


def test_attention_maps_with_bad_input(models, image, tmp_path, capsys):
    for arguments, message in (
        (
            [*models['hoga'], '--layer', 'backbone.layer1'],
            'is a Sequential, not a HOGA. HOGA cells: backbone.',
        ),
        ([models['hoga'][0]], 'error: give a work_dir, or a config and a checkpoint, not: '),
        ([*models['hoga'], 'extra'], 'error: give a work_dir, or a config and a checkpoint, not: '),
        ([*models['hoga'], '--images', image, SMALL], 'different sizes after the pipeline. Draw them one at a time'),
    ):
        small = tmp_path / 'small.png'
        cv2.imwrite(str(small), np.zeros((8, 8, 3), dtype=np.uint8))
        arguments = [str(small) if argument == SMALL else argument for argument in arguments]
        assert attention_maps_main([*arguments, '--device', 'cpu', '--out', str(tmp_path / 'a.png')]) == 2
        assert message in capsys.readouterr().err


def test_images_with_the_wrong_number_of_channels(models, image, tmp_path, capsys):
    """A pipeline that loads colour for a network with one input channel; used to end in a convolution's traceback."""
    config, checkpoint = models['plain']
    text = Path(config).read_text().replace('pipeline=[', "pipeline=[dict(type='LoadImageFromFile'), ")
    (tmp_path / 'colour.py').write_text(text)
    arguments = ['--model', 'm', str(tmp_path / 'colour.py'), checkpoint, '--images', image, '--device', 'cpu']
    assert grad_cam_main([*arguments, '--out', str(tmp_path / 'a.png')]) == 2
    assert 'm takes images with 1 channel(s)' in capsys.readouterr().err
    (tmp_path / 'colour.py').write_text(
        text.replace("'LoadImageFromFile'", "'LoadImageFromFile', color_type='grayscale'")
    )
    assert grad_cam_main([*arguments, '--out', str(tmp_path / 'a.png')]) == 0


def test_selectivity_with_bad_input(models, tmp_path, capsys, monkeypatch):
    for variable in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'):
        monkeypatch.delenv(variable, raising=False)
    for arguments, message in (
        (['--layers', 'backbone.layer33'], 'Similar names: backbone.layer3'),
        (['--launcher', 'pytorch'], '--launcher pytorch: RANK, WORLD_SIZE, LOCAL_RANK not set'),
        (['--batch-size', '0'], '--batch-size: must be a positive integer, not 0'),
    ):
        command = ['--model', 'm', *models['plain'], '--device', 'cpu', '--out', str(tmp_path / 'a.png'), *arguments]
        assert exit_code(selectivity_main, command) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize('command', ['grad-cam', 'attention-maps', 'selectivity', 'tsne'])
def test_help_has_the_purpose_and_an_example(command, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['mmhoga'])
    with pytest.raises(SystemExit) as caught:
        main([command, '--help'])
    assert caught.value.code == 0
    usage, purpose, *_, example, _ = capsys.readouterr().out.split('\n\n')
    assert usage.startswith(f'usage: mmhoga {command} ')
    assert purpose.endswith('.') and '\n' not in purpose
    assert example.startswith(f'example:\n  mmhoga {command} ') and '--out' in example
