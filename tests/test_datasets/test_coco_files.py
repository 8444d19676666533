"""Generated data sets: the annotations fit the images, and COCO's reader and evaluator accept them."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmhoga.cli.make_data import make_data_main
from mmhoga.datasets.synthetic import coco_files
from mmhoga.datasets.synthetic.coco_files import KINDS, Recipe, annotation_file, write_coco
from mmhoga.datasets.synthetic.pictures import KEYPOINTS, SHAPES, SKELETON, draw_people, draw_shapes, run_lengths

pytest.importorskip('xtcocotools')
from xtcocotools.coco import COCO


@pytest.fixture(params=KINDS)
def dataset(request, tmp_path):
    root = tmp_path / request.param
    recipe = Recipe(request.param, train=12, val=5)
    assert write_coco(root, recipe)
    return root, recipe


def digest(root):
    files = sorted(path for path in root.rglob('*') if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def draw_many(draw, size, count=40):
    for i in range(count):
        yield draw(np.random.RandomState(i), size)


def decode(segmentation):
    """The mask of a run-length code, implemented independently of the encoder."""
    values = np.arange(len(segmentation['counts'])) % 2
    return np.repeat(values, segmentation['counts']).reshape(segmentation['size'][::-1]).T.astype(bool)


@pytest.mark.parametrize('draw', [draw_shapes, draw_people])
def test_boxes_and_areas_are_those_of_the_pixels(draw):
    for image, annotations in draw_many(draw, 96):
        assert image.shape == (96, 96, 3) and image.dtype == np.uint8
        assert annotations
        for one in annotations:
            mask = decode(one['segmentation'])
            x, y, width, height = one['bbox']
            inside = np.zeros_like(mask)
            inside[y : y + height, x : x + width] = True
            assert not (mask & ~inside).any()
            for edge in (mask[y], mask[y + height - 1], mask[:, x], mask[:, x + width - 1]):
                assert edge.any()  # a smaller box would cut something off
            assert one['area'] == mask.sum() > 0


def test_shapes_are_brighter_than_the_background_and_do_not_overlap():
    for image, annotations in draw_many(draw_shapes, 96):
        masks = [decode(one['segmentation']) for one in annotations]
        assert np.sum(masks, axis=0).max() == 1
        ground = image[~np.any(masks, axis=0)].max(axis=-1)
        for mask in masks:
            assert image[mask].max(axis=-1).mean() > np.percentile(ground, 99)


def test_the_shape_of_a_mask_is_that_of_its_class():
    """A regular polygon with n corners fills n sin(2 pi / n) / (2 pi) of its circumscribed circle."""
    share = {'disc': 1, 'square': 4 / (2 * np.pi), 'triangle': 3 * np.sin(2 * np.pi / 3) / (2 * np.pi)}
    seen = set()
    for _, annotations in draw_many(draw_shapes, 128):
        for one in annotations:
            mask = decode(one['segmentation'])
            _, radius = cv2.minEnclosingCircle(np.argwhere(mask).astype(np.float32))
            filled = mask.sum() / (np.pi * (radius + 0.5) ** 2)
            name = min(SHAPES, key=lambda shape: abs(share[shape] - filled))
            assert name == SHAPES[one['category_id'] - 1]
            seen.add(name)
    assert seen == set(SHAPES)


def test_keypoints_lie_on_their_person():
    """Visible keypoints are on the mask, occluded ones off it, unlabelled ones at (0, 0). Faces look at the viewer."""
    counts = {0: 0, 1: 0, 2: 0}
    for image, annotations in draw_many(draw_people, 128):
        for one in annotations:
            mask = decode(one['segmentation'])
            keypoints = np.array(one['keypoints']).reshape(17, 3)
            assert one['num_keypoints'] == (keypoints[:, 2] > 0).sum() > 0
            for x, y, v in keypoints:
                counts[int(v)] += 1
                if v == 0:
                    assert (x, y) == (0, 0)
                else:
                    assert 0 <= x <= 127 and 0 <= y <= 127
                    assert mask[round(y), round(x)] == (v == 2)
            named = dict(zip(KEYPOINTS, keypoints))
            assert named['left_eye'][0] > named['right_eye'][0]
            eyes = [named[f'{side}_eye'] for side in ('left', 'right') if named[f'{side}_eye'][2] == 2]
            assert all(image[round(y), round(x)].max() < 70 for x, y, _ in eyes)  # dark dots
    assert min(counts.values()) > 10


def test_keypoints_and_skeleton_are_those_of_coco():
    pytest.importorskip('mmpose')
    import mmpose
    from mmengine.config import Config
    from mmpose.datasets.datasets.utils import parse_pose_metainfo

    path = Path(mmpose.__file__).parent / '.mim/configs/_base_/datasets/coco.py'
    meta = parse_pose_metainfo(Config.fromfile(path).dataset_info)
    assert tuple(meta['keypoint_id2name'].values()) == KEYPOINTS
    assert [[a - 1, b - 1] for a, b in SKELETON] == [list(link) for link in meta['skeleton_links']]


@pytest.mark.parametrize('corner', [0, 1])
def test_run_lengths_against_xtcocotools(corner, tmp_path):
    mask = np.random.RandomState(3).rand(5, 7) < 0.5
    mask[0, 0] = corner
    code = run_lengths(mask)
    np.testing.assert_array_equal(decode(code), mask)
    coco = COCO()
    coco.imgs = {1: dict(id=1, height=5, width=7)}
    np.testing.assert_array_equal(coco.annToMask(dict(image_id=1, segmentation=code)), mask)


def test_the_reader_and_the_evaluator_of_coco_accept_it(dataset):
    from xtcocotools.cocoeval import COCOeval

    root, recipe = dataset
    iou_type = 'bbox' if recipe.kind == 'shapes' else 'keypoints'
    for split, count in (('train', 12), ('val', 5)):
        truth = COCO(str(root / annotation_file(recipe.kind, split)))
        assert len(truth.imgs) == count == len(list((root / split).glob('*.png')))
        for image in truth.imgs.values():
            assert cv2.imread(str(root / split / image['file_name'])).shape == (recipe.size, recipe.size, 3)
            assert truth.getAnnIds(imgIds=[image['id']])
    perfect = [dict(one, score=1.0) for one in truth.anns.values()]
    shifted = json.loads(json.dumps(perfect))
    for one in shifted:
        one['bbox'][0] += one['bbox'][2]
        one['keypoints'] = [n + 30 if i % 3 == 0 else n for i, n in enumerate(one.get('keypoints', ()))]
    for results, expected in ((perfect, 1.0), (shifted, 0.0)):
        evaluation = COCOeval(truth, truth.loadRes(results), iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] == pytest.approx(expected, abs=0.05)


def test_the_same_recipe_gives_the_same_bytes(dataset, tmp_path):
    root, recipe = dataset
    again, longer, other = (tmp_path / name for name in ('again', 'longer', 'other'))
    write_coco(again, recipe)
    assert digest(again) == digest(root)
    write_coco(longer, Recipe(recipe.kind, train=14, val=5))
    assert {k: v for k, v in digest(longer).items() if k in digest(root) and k.endswith('.png')} == {
        k: v for k, v in digest(root).items() if k.endswith('.png')
    }
    write_coco(other, Recipe(recipe.kind, train=12, val=5, seed=1))
    assert digest(other)['train/000001.png'] != digest(root)['train/000001.png']
    assert digest(root)['train/000001.png'] != digest(root)['val/000001.png']


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError('No space left on device')

    monkeypatch.setattr(coco_files.cv2, 'imwrite', fail)
    with pytest.raises(OSError, match='No space left'):
        write_coco(tmp_path / 'data' / 'shapes', Recipe('shapes'))
    assert list((tmp_path / 'data').iterdir()) == []
    monkeypatch.setattr(coco_files.cv2, 'imwrite', lambda *_: False)
    with pytest.raises(OSError, match=r'000001\.png could not be written'):
        write_coco(tmp_path / 'data' / 'shapes', Recipe('shapes'))
    assert list((tmp_path / 'data').iterdir()) == []


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ['--train', '3', '--val', '2']
    assert make_data_main(options) == 0
    assert 'wrote 3 + 2 pictures of 96 x 96' in capsys.readouterr().out
    assert (tmp_path / 'data/people/annotations/person_keypoints_val.json').is_file()
    before = digest(tmp_path)
    assert make_data_main(options) == 0
    assert capsys.readouterr().out.count('already has') == 2
    assert make_data_main(['shapes', '--train', '4']) == 2
    assert f'{tmp_path}/data/shapes already holds something else' in capsys.readouterr().err
    assert digest(tmp_path) == before


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['hexagons'], "there is no kind 'hexagons'. Choose from shapes, people."),
        (['--val', '0'], 'val=0'),
        (['--size', '32'], 'at least 64'),
    ],
)
def test_bad_arguments(tmp_path, capsys, arguments, message):
    assert make_data_main([*arguments, '--out', str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_figures_is_an_old_name_of_people(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Recipe('figures') == Recipe('people')
    assert make_data_main(['figures', '--train', '1', '--val', '1']) == 0
    assert [path.name for path in (tmp_path / 'data').iterdir()] == ['people']
