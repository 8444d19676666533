"""A Python that has imported everything already, for tests whose subject is not the start of a process.

A server imports torch and the hosts once (5 to 10 s), and forks for each command. Of mmhoga it imports only what the
environment imports at the start of every process. :func:`warm_python` starts the server of this process, and returns an
executable that is called like ``python``: ``-m MODULE``, ``-c CODE`` or a script, with arguments. It hands its folder,
environment, arguments, input and output to a fork, forwards signals, and ends as the fork ends. If it is killed, so is
the fork. With ``WARM_PYTHON=all`` in its environment, processes that the command starts are forks too.
"""

import contextlib
import json
import os
import signal
import socket
import sys

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LIBRARIES = (
    'torch._dynamo',
    'sklearn.datasets',
    'matplotlib.figure',
    'matplotlib.backends.backend_agg',
    'torch.distributed.run',
)


def start_server(path=None, hosts=('mmpretrain', 'mmdet', 'mmpose')):
    """Start a server that has imported the hosts, with ``path`` as its PYTHONPATH. Returns its executable."""
    import atexit
    import shutil
    import subprocess
    import tempfile

    folder = tempfile.mkdtemp(prefix='warm')
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    python = f'{folder}/python'
    with open(python, 'w') as file:  # noqa: PTH123 (pathlib takes long to import, and commands import this module)
        file.write(f"#!/bin/sh\nexec '{sys.executable}' -IS '{__file__}' '{folder}' \"$@\"\n")
    os.chmod(python, 0o755)  # noqa: PTH101
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '-1', 'MPLBACKEND': 'Agg'}
    if path is not None:
        environment['PYTHONPATH'] = str(path)
    command = [sys.executable, '-W', 'ignore', __file__, '--serve', folder, *hosts]
    subprocess.Popen(command, env=environment, cwd=folder, stdin=subprocess.PIPE)
    return python


_started = {}


def warm_python():
    """The executable of this process's server, which ends with this process."""
    if os.getpid() not in _started:
        _started[os.getpid()] = start_server()
    return _started[os.getpid()]


# ---- the executable


def split(arguments):
    """Options of Python, and the rest from -m, -c or the script on. None if only a real Python will do."""
    for index, argument in enumerate(arguments):
        if argument in ('-m', '-c') or not (argument.startswith('-') or arguments[index - 1 : index] == ['-W']):
            return arguments[:index], arguments[index:]
        if argument not in ('-W', '-u', 'ignore'):
            return None
    return None


def run_command(folder, arguments):
    """Have the server run the command, and end as it ends."""
    parts = split(arguments)
    if parts is None:
        os.execv(sys.executable, [sys.executable, *arguments])
    import time

    with socket.socket(socket.AF_UNIX) as connection:
        deadline = time.monotonic() + 120
        while connection.connect_ex(f'{folder}/socket'):
            if time.monotonic() > deadline:
                sys.exit('the server of tests/warm_python.py has not started')
            time.sleep(0.02)
        request = dict(
            options=parts[0],
            command=parts[1],
            folder=os.getcwd(),  # noqa: PTH109
            environment=dict(os.environ),
            parent=os.getppid(),
        )
        data = json.dumps(request).encode('utf-8', 'surrogateescape')
        socket.send_fds(connection, [f'{len(data):10}'.encode()], [0, 1, 2])
        connection.sendall(data)
        pid = int(connection.recv(10))
        for number in FORWARDED:
            signal.signal(number, lambda number, _: os.kill(pid, number))
        os.close(0)
        os.close(1)  # a reader sees the end of the output when the command closes it
        status = connection.recv(10)
    if not status:
        sys.exit('the server of tests/warm_python.py has ended')
    code = int(status)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(code)


# ---- the server


def serve(folder, hosts):
    """Import, then fork for each request until the input ends."""
    import gc
    import select
    from importlib import import_module

    import entry_points

    for name in (*LIBRARIES, *(f'{host}.{part}' for host in hosts for part in entry_points.HOST_PARTS)):
        import_module(name)
    entry_points.quicken_runs()
    gc.collect()
    gc.freeze()

    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f'{folder}/new')
    listener.listen(16)
    os.rename(f'{folder}/new', f'{folder}/socket')  # noqa: PTH104
    children = {}  # connection -> process
    while True:
        ready, _, _ = select.select([0, awake, listener, *children], [], [])
        if 0 in ready:
            for pid in children.values():
                os.kill(pid, signal.SIGKILL)
            return
        if awake in ready:
            os.read(awake, 100)
            while (ended := reap()) is not None:
                for connection in [one for one, pid in children.items() if pid == ended[0]]:
                    del children[connection]
                    answer(connection, ended[1])
                    connection.close()
        for connection in [one for one in ready if one in children]:  # its client was killed
            os.kill(children.pop(connection), signal.SIGKILL)
            connection.close()
        if listener in ready:
            connection = listener.accept()[0]
            head, files, _, _ = socket.recv_fds(connection, 10, 3)
            with connection.makefile('rb') as stream:
                request = json.loads(stream.read(int(head)))
            pid = os.fork()
            if pid == 0:
                for other in (connection, listener, *children):
                    other.close()
                signal.set_wakeup_fd(-1)
                os.close(wake)
                os.close(awake)
                become(folder, request, files)
            for file in files:
                os.close(file)
            children[connection] = pid
            answer(connection, pid)


def reap():
    """(process, exit code) of a child that has ended."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None


def answer(connection, number):
    with contextlib.suppress(OSError):  # its client was killed
        connection.sendall(f'{number:10}'.encode())


def become(folder, request, files):
    """Be the process of a command until its end."""
    import atexit
    import threading
    import traceback
    import warnings

    import numpy as np

    for number in (*FORWARDED, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    os.chdir(request['folder'])
    os.environ.clear()
    os.environ.update(request['environment'])
    if os.environ.get('WARM_PYTHON') == 'all':
        sys.executable = f'{folder}/python'
    this, parent, getppid = os.getpid(), request['parent'], os.getppid
    os.getppid = lambda: parent if os.getpid() == this else getppid()  # processes of a data loader watch their parent
    unbuffered = '-u' in request['options'] or 'PYTHONUNBUFFERED' in os.environ
    sys.stdin = sys.__stdin__ = open(0, encoding='utf-8', closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, 'w', encoding='utf-8', closefd=False)  # noqa: SIM115
    sys.stdout.reconfigure(write_through=unbuffered)
    sys.stderr = sys.__stderr__ = open(2, 'w', 1, 'utf-8', 'backslashreplace', closefd=False)  # noqa: SIM115
    if '-W' in request['options']:
        warnings.simplefilter('ignore')
    else:
        warnings.resetwarnings()
        warnings.filterwarnings('default', category=DeprecationWarning, module='__main__')
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter('ignore', category, append=True)
    np.random.seed()  # noqa: NPY002
    code = 0
    try:
        run(*request['command'])
    except SystemExit as stop:
        code = stop.code
        if code is not None and not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException as error:
        traceback.print_exception(error)
        code = 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit((code or 0) & 255)


def run(kind, *rest):
    """Run a module, code or a script, as Python does."""
    import runpy
    import types

    name = rest[0] if kind in ('-m', '-c') else kind
    here = os.path.dirname(os.path.abspath(name)) if name is kind else os.getcwd()  # noqa: PTH100, PTH109, PTH120
    path = filter(None, os.environ.get('PYTHONPATH', '').split(os.pathsep))
    sys.path[:] = dict.fromkeys([here, *path, *sys.path[1:]])
    if kind == '-m':
        sys.argv = list(rest)
        runpy.run_module(name, run_name='__main__', alter_sys=True)
    elif kind == '-c':
        sys.argv = ['-c', *rest[1:]]
        sys.modules['__main__'] = module = types.ModuleType('__main__')
        exec(name, vars(module))
    else:
        sys.argv = [kind, *rest]
        sys.modules['__main__'] = module = types.ModuleType('__main__')
        vars(module).update(__file__=kind)
        with open(kind, 'rb') as file:  # noqa: PTH123
            exec(compile(file.read(), kind, 'exec'), vars(module))


if __name__ == '__main__':
    if sys.argv[1] == '--serve':
        serve(sys.argv[2], sys.argv[3:])
    else:
        run_command(sys.argv[1], sys.argv[2:])
