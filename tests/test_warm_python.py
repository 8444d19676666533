"""The forks in which tests run commands behave like the processes for which they stand."""

import os
import signal
import subprocess
import sys
import time

import pytest
from warm_python import split, warm_python


def start(*arguments, **options):
    return subprocess.Popen(
        [warm_python(), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_arguments_folder_environment_and_streams(tmp_path):
    code = (
        'import os, sys; print(sys.argv, os.getcwd(), os.environ["A"], input(), "torch" in sys.modules); sys.exit("no")'
    )
    process = start('-W', 'ignore', '-c', code, 'x', '-W', cwd=tmp_path, env={**os.environ, 'A': 'b c'})
    out, err = process.communicate('read\n', timeout=60)
    assert (process.returncode, err) == (1, 'no\n')
    assert out == f"['-c', 'x', '-W'] {tmp_path} b c read True\n"


def test_a_script_and_a_module(tmp_path):
    (tmp_path / 'beside.py').write_text('name = 5')
    (tmp_path / 'script.py').write_text('import sys, beside\nif __name__ == "__main__": sys.exit(beside.name)')
    assert subprocess.run([warm_python(), tmp_path / 'script.py'], check=False).returncode == 5
    assert subprocess.run([warm_python(), '-m', 'script'], cwd=tmp_path, check=False).returncode == 5


@pytest.mark.parametrize(('number', 'code'), [(signal.SIGINT, 7), (signal.SIGTERM, -signal.SIGTERM)])
def test_signals_are_forwarded(number, code):
    program = """
import time
try:
    print('up', flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    raise SystemExit(7)
"""
    process = start('-c', program)
    assert process.stdout.readline() == 'up\n'
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code


def test_a_killed_command_ends():
    process = start('-c', 'import os, time; print(os.getpid(), flush=True); time.sleep(60)')
    pid = int(process.stdout.readline())
    assert pid != process.pid
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(pid)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_other_options_need_a_real_python():
    assert split(['-S', '-c', '']) is None and split([]) is None
    assert split(['-W', 'ignore', '-u', '-m', 'a', '-b']) == (['-W', 'ignore', '-u'], ['-m', 'a', '-b'])
    process = start('-S', '-c', 'import sys; print("torch" in sys.modules, sys.executable)')
    assert process.communicate(timeout=60)[0] == f'False {sys.executable}\n'
