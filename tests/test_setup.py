"""What is packaged, what is pinned, and when ``make`` sets its environment up again."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from mmhoga.version import __version__

ROOT = Path(__file__).resolve().parent.parent
PINNED = ROOT / 'requirements' / 'pinned.txt'
CONSTRAINTS = ROOT / 'requirements' / 'constraints.txt'
FOLDERS = ('.ci', 'benchmarks', 'configs', 'docs', 'mmhoga', 'requirements', 'tests', 'tools')
FILES = (
    *('setup.py', 'pyproject.toml', 'MANIFEST.in', 'Makefile', 'LICENSE', 'CITATION.cff'),
    *('README.md', 'CHANGELOG.md', 'CONTRIBUTING.md'),
)


def exact_versions(path):
    """Name -> version; a line that is not ``name==version`` fails."""
    lines = [line.partition('#')[0].strip() for line in path.read_text().splitlines()]
    pairs = [re.fullmatch(r'([\w.-]+)==([\w.]+)', line).groups() for line in lines if line]
    return {re.sub('[-_.]+', '-', name).lower(): version for name, version in pairs}


def copy_checkout(target):
    """Copy what belongs to the source distribution, without the environment, data and results of the checkout."""
    ignored = shutil.ignore_patterns('__pycache__', '.mim', '_build')
    for name in FOLDERS:
        shutil.copytree(ROOT / name, target / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, target)
    return target


@pytest.fixture(scope='module')
def distributions(tmp_path_factory):
    """A source distribution and the wheel that is built from it alone."""
    source = copy_checkout(tmp_path_factory.mktemp('checkout') / 'mmhoga')
    built = tmp_path_factory.mktemp('built')

    def build(command, cwd):
        subprocess.run(
            [sys.executable, 'setup.py', '-q', command, '-d', built], cwd=cwd, check=True, capture_output=True
        )

    build('sdist', source)
    (archive,) = built.glob('*.tar.gz')
    unpacked = tmp_path_factory.mktemp('unpacked')
    with tarfile.open(archive) as file:
        file.extractall(unpacked)
    (directory,) = unpacked.iterdir()
    build('bdist_wheel', directory)
    (wheel,) = built.glob('*.whl')
    return archive, wheel


def test_the_wheel_has_every_module_config_and_tool(distributions):
    with zipfile.ZipFile(distributions[1]) as wheel:
        names = set(wheel.namelist())
    modules = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / 'mmhoga').rglob('*.py') if '.mim' not in path.parts
    }
    shipped = {
        f'mmhoga/.mim/{path.relative_to(ROOT).as_posix()}'
        for folder in ('configs', 'tools')
        for path in (ROOT / folder).rglob('*')
        if path.suffix in ('.py', '.sh', '.json', '.yml')
    }
    assert shipped and modules
    templates = {path.relative_to(ROOT).as_posix() for path in (ROOT / 'mmhoga').glob('report/templates/*')}
    assert modules | shipped | templates | {'mmhoga/py.typed'} <= names
    assert not [name for name in names if name.startswith(('tests/', 'configs/', 'tools/')) or '__pycache__' in name]


@pytest.fixture(scope='module')
def metadata(distributions):
    with zipfile.ZipFile(distributions[1]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith('.dist-info/METADATA'))
        return wheel.read(name).decode()


def test_requirements_of_the_wheel(metadata):
    needs = re.findall(r'^Requires-Dist: (\S+?)(?:[;\s].*)?$', metadata, re.MULTILINE)
    always = [line for line in metadata.splitlines() if line.startswith('Requires-Dist') and 'extra ==' not in line]
    assert f'Version: {__version__}\n' in metadata
    assert 'Requires-Python: >=3.9\n' in metadata
    # Loose: pip replaces no installed torch. No mmcv and no mmengine of any kind: pip would install one over the other.
    assert sorted(line.split(': ')[1] for line in always) == [
        'numpy',
        'safetensors>=0.4',
        'torch>=2.0',
    ]
    assert not [need for need in needs if need.startswith(('mmcv', 'chumpy'))]
    extras = set(re.findall(r'^Provides-Extra: (.*)$', metadata, re.MULTILINE))
    assert extras >= {'cls', 'det', 'pose', 'attention', 'analysis', 'deploy', 'docs', 'dev'}
    assert [line for line in metadata.splitlines() if 'torchvision' in line and "'cls'" in line.replace('"', "'")]


def test_the_description_has_no_link_that_is_dead_on_a_package_index(metadata):
    description = metadata.partition('\n\n')[2]
    assert '# mmhoga' in description and 'make demo' in description
    assert not [link for link in re.findall(r'\]\(([^)\s]+)\)', description) if '://' not in link]


def test_links_of_the_description_lead_to_the_repository_once_it_has_an_address(tmp_path):
    copy_checkout(tmp_path / 'checkout')
    setup = tmp_path / 'checkout' / 'setup.py'
    text = setup.read_text()
    setup.write_text(text.replace("PROJECT_URL = ''", "PROJECT_URL = 'https://example.org/mmhoga'", 1))
    shown = subprocess.run(
        [sys.executable, '-W', 'ignore', 'setup.py', '-q', '--long-description', '--url'],
        cwd=setup.parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert '](https://example.org/mmhoga/blob/main/docs/quick_start.md)' in shown
    assert '](https://example.org/mmhoga/raw/main/docs/images/autola.png)' in shown
    assert shown.splitlines()[-1] == 'https://example.org/mmhoga'


def test_the_source_distribution_has_all_that_tests_and_docs_need(distributions):
    with tarfile.open(distributions[0]) as file:
        names = {name.partition('/')[2] for name in file.getnames()}
    folders = {
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in (ROOT / folder).rglob('*')
        if path.is_file() and not {'__pycache__', '.mim', '_build'} & set(path.parts)
    }
    assert not (folders | set(FILES)) - names


def test_pins_are_exact_and_agree():
    pinned, constraints = exact_versions(PINNED), exact_versions(CONSTRAINTS)
    assert pinned.items() <= constraints.items()
    assert exact_versions(ROOT / 'requirements' / 'no-deps.txt').items() <= constraints.items()
    assert 'mmcv' not in constraints  # the compiled one does not build against this torch


STACKS = {path.stem: path for path in (ROOT / 'requirements' / 'stacks').glob('*.txt') if path.stem != 'built'}


@pytest.mark.parametrize('stack', STACKS)
def test_a_stack_is_exact_and_names_its_python(stack):
    assert re.match(r'# Python 3\.\d+\. ', STACKS[stack].read_text())
    versions = exact_versions(STACKS[stack])
    assert {'torch', 'torchvision', 'numpy', 'pytest', 'setuptools'} <= versions.keys()
    assert len({'mmengine', 'onedl-mmengine'} & versions.keys()) == 1


def test_the_oldest_stack_has_the_lowest_versions_that_the_metadata_allow(metadata):
    oldest = exact_versions(STACKS['oldest'])
    floors = dict(re.findall(r'^Requires-Dist: ([\w-]+)\S*?>=([\d.]+)', metadata, re.MULTILINE))
    tested = floors.keys() & oldest.keys() - {'pytest', 'sphinx'}
    assert tested >= {'torch', 'mmengine', 'mmdet', 'mmpretrain', 'safetensors', 'timm', 'optuna'}
    for name in tested:
        digits = [[int(part) for part in version.split('.')] for version in (floors[name], oldest[name])]
        assert digits[1][: len(digits[0])] == digits[0], name
    assert 'Programming Language :: Python :: 3.9' in metadata and 'Python 3.9' in STACKS['oldest'].read_text()


def test_the_compatibility_table_has_the_versions_of_the_pins():
    rows = re.findall(r'^\| `(\w+)` \| (.+) \|$', (ROOT / 'docs' / 'faq.md').read_text(encoding='utf-8'), re.MULTILINE)
    table = {name: [cell.strip() for cell in cells.split('|')] for name, cells in rows}
    assert 'oldest' in table
    for stack, (python, torch, numpy, hosts, tests) in table.items():
        versions = exact_versions(STACKS[stack])
        assert python.startswith(re.search(r'Python (3\.\d+)', STACKS[stack].read_text())[1])
        assert (torch, numpy) == (versions['torch'], versions['numpy'])
        assert dict(host.split() for host in hosts.split(', ')).items() <= versions.items()
        assert ' 0 failed' in tests


def make(checkout, *arguments):
    # Not as a part of the `make test` that this may run in.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(('MAKE', 'MFLAGS'))}
    return subprocess.run(
        ['make', *arguments], cwd=checkout, env=environment, check=False, capture_output=True, text=True
    )


@pytest.fixture
def dry_run(tmp_path):
    """``make -n`` in a copy of the checkout, which is an attribute of the function: what it would run."""
    if shutil.which('make') is None:
        pytest.skip('there is no make here')
    checkout = copy_checkout(tmp_path / 'checkout')

    def run(goal, *variables):
        result = make(run.checkout, '-n', goal, f'PYTHON={sys.executable}', *variables)
        assert result.returncode == 0, result.stderr
        return result.stdout

    run.checkout = checkout
    return run


def finish_set_up(dry_run):
    """Do what a complete set-up does last: write the stamp that the dry run names."""
    stamp = re.search(r'\.venv/\.ready-\w+$', dry_run('test').split(' && touch ')[-1].splitlines()[0]).group()
    (dry_run.checkout / '.venv').mkdir(exist_ok=True)
    (dry_run.checkout / stamp).touch()


@pytest.mark.parametrize(
    ('goal', 'command'),
    [
        ('demo', '.venv/bin/python -m mmhoga demo --work-dir work_dirs/demo'),
        ('test', '.venv/bin/python -m pytest -n 2'),
        ('check', '.venv/bin/python -m ruff check .'),
        ('docs', '.venv/bin/python -m sphinx'),
    ],
)
def test_each_command_sets_up_once(goal, command, dry_run):
    before = dry_run(goal)
    assert '-m pip' in before and 'requirements/pinned.txt' in before
    assert command in before
    finish_set_up(dry_run)
    after = dry_run(goal)
    assert '-m pip' not in after
    assert after.strip().startswith(command)


def test_set_up_is_repeated_when_a_pin_changes_and_not_when_a_date_does(dry_run):
    finish_set_up(dry_run)
    pinned = dry_run.checkout / 'requirements' / 'pinned.txt'
    pinned.touch()
    assert '-m pip' not in dry_run('test')
    text = pinned.read_text()
    pinned.write_text(text.replace('==', '==1!', 1))
    assert '-m pip' in dry_run('test')
    pinned.write_text(text)
    assert '-m pip' not in dry_run('test')


@pytest.mark.parametrize('stack', STACKS)
def test_a_stack_has_its_own_environment_pins_and_suite(stack, dry_run):
    printed = dry_run('test', f'STACK={stack}')
    assert f'-m venv .venv-{stack}\n' in printed
    assert f'.venv-{stack}/bin/python tests/smoke.py {stack}' in printed
    assert f'install --no-compile --no-deps -r requirements/stacks/{stack}.txt' in printed
    assert 'pinned.txt' not in printed and '-m pytest' not in printed


def test_an_unknown_stack_is_refused_with_the_list(dry_run):
    result = make(dry_run.checkout, '-n', 'test', 'STACK=newest')
    assert result.returncode != 0 and "there is no stack 'newest'" in result.stderr
    assert all(stack in result.stderr for stack in STACKS)


def test_every_test_of_the_smoke_suite_exists():
    from smoke import SMOKE

    for test in SMOKE:
        path, _, name = test.partition('::')
        assert f'def {name}' in (ROOT / 'tests' / path).read_text(encoding='utf-8')


def test_set_up_is_repeated_in_a_moved_checkout(dry_run):
    finish_set_up(dry_run)
    assert '-m pip' not in dry_run('test')
    dry_run.checkout = shutil.move(dry_run.checkout, dry_run.checkout.with_name('elsewhere'))
    assert '-m pip' in dry_run('test')


def test_the_stamp_is_the_last_thing_and_an_interrupted_set_up_starts_afresh(dry_run):
    """Runs the real recipe with a Python that fails in the middle, as if it had been interrupted there."""
    python = dry_run.checkout / 'python'
    python.write_text(
        '#!/bin/sh\n'
        'case "$*" in *" venv .venv") mkdir -p .venv/bin; ln -sf ../../python .venv/bin/python; touch .venv/half;;\n'
        '  *" -r "*) exit 1;; esac\n'
    )
    python.chmod(0o755)

    first = make(dry_run.checkout, 'test', f'PYTHON={python}')
    assert first.returncode != 0
    assert not list((dry_run.checkout / '.venv').glob('.ready-*'))
    (dry_run.checkout / '.venv' / 'left-over').touch()
    second = make(dry_run.checkout, 'test', f'PYTHON={python}')
    assert 'starting afresh' in second.stdout
    assert not (dry_run.checkout / '.venv' / 'left-over').exists()


def test_a_python_that_will_not_do_is_named(dry_run):
    old = dry_run.checkout / 'python2'
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 2.7.18\nexit 1\n')
    old.chmod(0o755)
    result = make(dry_run.checkout, 'test', f'PYTHON={old}')
    assert result.returncode != 0
    assert 'needs Python 3.9 or newer' in result.stdout
    assert 'Python 2.7.18' in result.stdout
    assert not (dry_run.checkout / '.venv').exists()


def test_continuous_integration_runs_what_a_person_types():
    script = ROOT / '.ci' / 'run'
    assert script.stat().st_mode & 0o111
    assert script.read_text().splitlines()[-1] == 'exec make test'


@pytest.mark.skipif(Path(sys.prefix) != ROOT / '.venv', reason='this Python is not the one that make set up')
def test_hosts_work_in_the_environment_of_make_whatever_is_imported_first():
    code = "import sys; print(any(type(finder).__name__ == '_StandInFinder' for finder in sys.meta_path))"
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == 'True', result.stderr
