"""tools/genotype.py: each command, and mistakes in one line."""

import pytest

from mmhoga.analysis.complexity import count
from mmhoga.genotype import BUILTIN, Genotype
from mmhoga.interop.autola import RELEASED_NORMAL
from mmhoga.launch.genotypes import genotype_main
from mmhoga.models import HOGA


@pytest.fixture
def call(capsys):
    def call(*arguments):
        code = genotype_main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def test_show(call, tmp_path):
    assert call('show', 'autola')[1].splitlines()[2] == 'U2 <- norm_3x3(U0), skip_connect(U1), cbam(F2)'
    Genotype([['se']], {'seed': 3, 'epoch': 8, 'alpha': [[1.0]]}).save(tmp_path / 'g.json')
    assert call('show', tmp_path / 'g.json')[1] == 'U0 <- se(F0)\nseed: 3\nepoch: 8\n'


def test_compare(call, tmp_path):
    code, out, _ = call('compare', 'autola', 'autola_release')
    assert code == 1 and out.startswith('9 of 10 edges agree.\n')
    assert out.splitlines()[2:] == ['  autola          spatial_3x3', '  autola_release  norm_3x3']
    BUILTIN['autola'].save(tmp_path / 'g.json')
    assert call('compare', 'autola', tmp_path / 'g.json')[:2] == (0, '10 of 10 edges agree.\n')
    assert call('compare', 'autola')[0] == 2


def test_validate(call, tmp_path):
    (tmp_path / 'bad.json').write_text('{"edges": [["sse"]]}')
    code, out, err = call('validate', 'autola', tmp_path / 'bad.json')
    assert code == 2 and out == 'autola: valid, K = 4\n' and "Row 0, entry 0: unknown operation 'sse'" in err
    assert call('validate', tmp_path / 'none.json')[0] == 2


def test_count(call):
    wanted = count(HOGA(64, genotype='hog_se'), (64, 14, 7))
    out = call('count', 'hog_se', '--channels', 64, '--size', 14, 7)[1]
    assert out == f'64 x 14 x 7: {wanted.params:,} parameters, {wanted.macs:,} multiply-accumulates\n'
    assert 'K = 4 groups' in call('count', 'autola', '--channels', 30)[2]


def test_draw(call, tmp_path):
    assert call('draw', 'autola', 'hog_se', '--out', tmp_path / 'g.svg')[0] == 0
    assert (tmp_path / 'g.svg').read_text().startswith('<svg') or '<svg' in (tmp_path / 'g.svg').read_text()[:200]
    assert 'must end in .svg' in call('draw', 'autola', '--out', tmp_path / 'g.txt')[2]


def test_convert(call, tmp_path):
    text = f'A = Genotype(normal={list(RELEASED_NORMAL)!r})\n'
    (tmp_path / 'genotypes.py').write_text(text)
    assert call('convert', tmp_path / 'genotypes.py', '--out', tmp_path / 'g.json')[0] == 0
    converted = Genotype.load(tmp_path / 'g.json')
    assert converted == BUILTIN['autola_release'] and converted.meta['source'] == 'genotypes.py: A'
    (tmp_path / 'genotypes.py').write_text(text + text.replace('A', 'B', 1))
    assert 'holds A, B: say which' in call('convert', tmp_path / 'genotypes.py')[2]
    assert '"norm_3x3_d2"' in call('convert', tmp_path / 'genotypes.py', '--name', 'B')[1]


def test_a_module_that_is_not_there(call):
    code, _, err = call('--import', 'no_such_module', 'show', 'autola')
    assert code == 2 and '--import no_such_module: No module named' in err
