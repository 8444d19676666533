"""``mmhoga browse`` with a data set of each host."""

import cv2
import numpy as np
import pytest

from mmhoga.cli.browse import _pack_transformed_keypoints, browse_main
from mmhoga.datasets.synthetic.coco_files import Recipe, write_coco

CONFIGS = {
    'mmpretrain': 'demo/hoga-resnet18_1xb32-10e_shapes.py',
    'mmdet': 'demo/hoga-ssd_r18_1xb8-20e_shapes.py',
    'mmpose': 'demo/hoga-td-hm_r18_1xb16-10e_people.py',
}


@pytest.mark.parametrize('host', CONFIGS)
def test_pictures_of_each_host(host, root, tmp_path, monkeypatch, capsys):
    pytest.importorskip(host)
    for kind in ('shapes', 'people'):
        write_coco(tmp_path / 'data' / kind, Recipe(kind, train=2, val=1))
    monkeypatch.chdir(tmp_path)
    assert browse_main([str(root / 'configs' / CONFIGS[host]), '--out', 'seen', '--number', '2']) == 0
    assert '2 pictures in seen' in capsys.readouterr().out
    pictures = [cv2.imread(str(path)) for path in sorted((tmp_path / 'seen').iterdir())]
    assert len(pictures) == 2 and not np.array_equal(*(picture[:64, :64] for picture in pictures))


def test_grey_images_of_few_pixels(root, tmp_path, capsys):
    config = str(root / 'configs' / 'digits' / 'resnet8_1xb96-8e_digits.py')
    assert browse_main([config, '--out', str(tmp_path), '--number', '1', '--part', 'val']) == 0
    picture = cv2.imread(str(tmp_path / 'val_00000.png'))
    assert min(picture.shape[:2]) >= 256, 'enlarged until a label can be read'


def test_mistakes(root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert browse_main([str(root / 'configs' / CONFIGS['mmpretrain']), '--out', 'seen']) == 2
    assert 'data/shapes' in capsys.readouterr().err
    (tmp_path / 'none.py').write_text('model = dict()')
    assert browse_main(['none.py', '--out', 'seen', '--part', 'val']) == 2
    assert 'has no val_dataloader' in capsys.readouterr().err


def test_arguments_that_are_refused(root, tmp_path, capsys):
    config = str(root / 'configs' / 'digits' / 'resnet8_1xb96-8e_digits.py')
    for number in ('-1', '0'):
        with pytest.raises(SystemExit) as error:
            browse_main([config, '--out', str(tmp_path), '--number', number])
        assert error.value.code == 2
        assert f'--number: must be a positive integer, not {number}' in capsys.readouterr().err
    (tmp_path / 'file').touch()
    for arguments, message in (
        (['--out', str(tmp_path / 'file')], 'File exists'),
        (['--out', str(tmp_path), '--cfg-options', 'train_dataloader.dataset.type=Nix'], 'Nix is not in the'),
    ):
        assert browse_main([config, '--number', '1', *arguments]) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_pose_pipeline_in_a_wrapped_data_set_packs_transformed_keypoints():
    config = dict(type='RepeatDataset', dataset=dict(pipeline=[dict(type='mmpose.PackPoseInputs')]))
    _pack_transformed_keypoints(config)
    assert config['dataset']['pipeline'][0]['pack_transformed']


def test_keypoints_lie_on_the_figure(root, tmp_path, monkeypatch):
    """mmpose moves the image, and leaves the keypoints where they were in the original."""
    pytest.importorskip('mmpose')
    write_coco(tmp_path / 'data' / 'people', Recipe('people', train=2, val=1))
    monkeypatch.chdir(tmp_path)
    drawn = []
    monkeypatch.setattr('mmhoga.cli.browse.draw', lambda visualizer, sample, path: drawn.append(sample))
    assert browse_main([str(root / 'configs' / CONFIGS['mmpose']), '--out', 'seen', '--number', '1']) == 0
    instances, heatmaps = drawn[0]['data_samples'].gt_instances, drawn[0]['data_samples'].gt_fields.heatmaps
    size = np.array(heatmaps.shape[:0:-1])
    points = instances.transformed_keypoints[0] / (np.array(drawn[0]['inputs'].shape[:0:-1]) / size)
    peaks = np.array([np.unravel_index(int(heatmap.argmax()), heatmap.shape)[::-1] for heatmap in heatmaps])
    inside = (instances.keypoints_visible[0] > 0) & ((points > 1) & (points < size - 2)).all(1)
    assert inside.any()
    np.testing.assert_allclose(points[inside], peaks[inside], atol=1)
