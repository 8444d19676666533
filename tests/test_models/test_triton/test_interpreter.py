"""Runs the tests of this folder in Triton's interpreter, which must be on before anything imports Triton."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('triton', reason='kernels in Triton need Triton')


@pytest.mark.skipif(os.environ.get('TRITON_INTERPRET') == '1', reason='the interpreter is on: the others run directly')
def test_the_kernels_in_the_interpreter():
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', str(Path(__file__).parent)]
    environment = {**os.environ, 'TRITON_INTERPRET': '1'}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
