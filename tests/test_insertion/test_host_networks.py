"""benchmarks/host_networks.py on two networks, in this process, which has imported the hosts already."""

import importlib.util
import runpy
import sys

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmpose')
pytest.importorskip('mmpretrain')
pytest.importorskip('timm')


@pytest.fixture(scope='module')
def host_networks(pytestconfig):
    path = pytestconfig.rootpath / 'benchmarks' / 'host_networks.py'
    spec = importlib.util.spec_from_file_location('host_networks', path)
    module = importlib.util.module_from_spec(spec)
    sys.modules['host_networks'] = module  # for its dataclass
    spec.loader.exec_module(module)
    yield module
    del sys.modules['host_networks']


@pytest.fixture(scope='module')
def data(host_networks, tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    host_networks.make_data(folder)
    return folder


@pytest.mark.parametrize('name', ['rtmpose-tiny', 'timm-efficientnet-lite0'])
def test_the_tools_of_a_host_train_resume_and_use_a_network(name, host_networks, data, tmp_path, monkeypatch):
    def run(folder, arguments):
        monkeypatch.chdir(folder)
        monkeypatch.syspath_prepend(folder)
        if arguments[0] == '-c':
            exec(arguments[1], {})
        else:
            monkeypatch.setattr(sys, 'argv', arguments)
            runpy.run_path(arguments[0], run_name='__main__')
        return ''

    results = host_networks.check_network(host_networks.NETWORKS[name], tmp_path, data, run)
    assert list(results) == ['trained', 'resumed', 'inference']
    assert all(result.endswith(' s') for result in results.values()), results
