import os
from pathlib import Path

import pytest

from mmhoga.files import last_checkpoint, remove_leftovers, write_atomic


def test_writes_and_replaces(tmp_path):
    path = tmp_path / 'a.txt'
    write_atomic(path, 'one')
    write_atomic(path, 'two')
    assert path.read_text() == 'two'
    assert list(tmp_path.iterdir()) == [path]


def test_the_last_checkpoint_is_the_one_in_the_folder(tmp_path):
    """A copied folder records the original's path; with ``out_dir`` the checkpoint is only there."""
    assert last_checkpoint(tmp_path) is None
    folders = [tmp_path / 'original', tmp_path / 'copy', tmp_path / 'out']
    for folder in folders:
        folder.mkdir()
        (folder / 'epoch_3.pth').touch()
        (folder / 'last_checkpoint').write_text(f'{folders[0]}/epoch_3.pth\n')
    assert last_checkpoint(folders[1]) == folders[1] / 'epoch_3.pth'
    (folders[2] / 'epoch_3.pth').unlink()
    assert last_checkpoint(folders[2]) == folders[0] / 'epoch_3.pth'


@pytest.mark.parametrize('record', [b'epoch_9.pth', b'', b'\0', b'x' * 5000, b'\xff\xfe', b'..'])
def test_a_spoilt_record_of_the_last_checkpoint(tmp_path, record):
    for name in ('epoch_1.pth', 'best_score_epoch_1.pth', 'derived.pth'):
        (tmp_path / name).touch()
    (tmp_path / 'last_checkpoint').write_bytes(record)
    with pytest.raises(
        FileNotFoundError, match=r'no such file, here or there\. The newest .* is epoch_1\.pth'
    ) as error:
        last_checkpoint(tmp_path)
    assert len(str(error.value)) < 800


@pytest.mark.parametrize('step', ['fsync', 'replace'])
def test_a_failure_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, step):
    path = tmp_path / 'a.txt'
    write_atomic(path, 'old')

    def full_disk(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os if step == 'fsync' else Path, step, full_disk)
    with pytest.raises(OSError, match='No space left'):
        write_atomic(path, 'new')
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    (tmp_path / 'plain').write_text('')
    write_atomic(tmp_path / 'atomic', '')
    assert (tmp_path / 'atomic').stat().st_mode == (tmp_path / 'plain').stat().st_mode


def test_leftovers_of_a_kill_are_removed_and_nothing_else(tmp_path):
    (tmp_path / f'.genotype.json.123-{"a" * 32}.tmp').write_text('{"ha')
    others = ['.notes.tmp', 'x.tmp', 'genotype.json', f'.genotype.json.{"a" * 32}.tmp']
    for name in others:
        (tmp_path / name).touch()
    assert [path.name for path in remove_leftovers(tmp_path)] == [f'.genotype.json.123-{"a" * 32}.tmp']
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
