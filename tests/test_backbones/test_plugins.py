"""The plugins argument, read."""

from __future__ import annotations

import pytest

from mmhoga.backbones.plugins import plugins_per_block

POSITIONS = ('after_conv1', 'after_conv2')


def plugin(**changes):
    return {**dict(cfg=dict(type='ContextBlock', ratio=0.5), position='after_conv2'), **changes}


def test_sorted_by_stage_in_the_order_given():
    first, second, third = plugin(stages=(True, False, True)), plugin(), plugin(stages=[False, False, True])
    assert plugins_per_block([first, second, third], (2, 1, 1), POSITIONS) == [
        [[first, second]] * 2,
        [[second]],
        [[first, second, third]],
    ]


def test_blocks_are_chosen_by_name_within_the_stages_of_the_plugin():
    cfg = plugin()['cfg']
    chosen = plugin(cfg=dict(cfg, blocks=['layer2.1', 'layer3.0']), stages=(False, True, True))
    without = {**chosen, 'cfg': cfg}
    assert plugins_per_block([chosen], (2, 2, 1), POSITIONS) == [[[], []], [[], [without]], [[without]]]
    assert chosen['cfg']['blocks'], 'the config stays as it is'
    nowhere = plugin(cfg=dict(cfg, blocks=[]))
    assert plugins_per_block([nowhere], (2, 1), POSITIONS) == [[[], []], [[]]]


@pytest.mark.parametrize('nothing', [None, [], ()])
def test_no_plugins(nothing):
    assert plugins_per_block(nothing, (1, 2), POSITIONS) == [[[]], [[], []]]


@pytest.mark.parametrize(
    ('plugins', 'message'),
    [
        (plugin(), r'must be a list of dicts, not one dict'),
        (['mmhoga.HOGA'], r"plugins\[0\] must be a dict.*'mmhoga.HOGA'"),
        ([plugin(), dict(cfg=dict(type='ContextBlock'))], r"plugins\[1\] lacks \['position'\]"),
        ([dict(position='after_conv2')], r"plugins\[0\] lacks \['cfg'\]"),
        ([plugin(postfix='_1')], r"unknown keys \['postfix'\].*postfix and blocks go into cfg"),
        ([plugin(cfg='mmhoga.HOGA')], r"\['cfg'\] must be a dict with a 'type'"),
        ([plugin(cfg=dict(ratio=0.5))], r"\['cfg'\] must be a dict with a 'type'"),
        ([plugin(position='after_conv3')], r"'after_conv3'.*Its positions: after_conv1, after_conv2\."),
        ([plugin(stages=(True,) * 4)], r"\['stages'\] has 4 entries.*has 3 stages"),
        ([plugin(stages=())], r"\['stages'\] has 0 entries"),
        ([plugin(cfg=dict(type='x', blocks=['layer1.2']))], r"\['blocks'\] is \['layer1\.2'\].* layer1\.0, layer1\.1,"),
        ([plugin(cfg=dict(type='x', blocks='layer1.0'))], r'It is a list of names'),
        (
            [plugin(cfg=dict(type='x', blocks=['layer1.0']), stages=(False, True, True))],
            r'names.*: layer2\.0, layer3\.0',
        ),
    ],
)
def test_invalid_plugins(plugins, message):
    with pytest.raises(ValueError, match=message):
        plugins_per_block(plugins, (2, 1, 1), POSITIONS)
