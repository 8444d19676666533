"""Geometry of the drawing: nothing overlaps, and the wires are those of Eqs. (2) and (3)."""

import itertools
import random

import pytest

from mmhoga.figures.genotype_layout import FONT_SIZE, Layout, text_width
from mmhoga.figures.styles import style
from mmhoga.genotype import PRIMITIVES, Genotype, edge_list, edge_name


def random_genotype(groups):
    rng = random.Random(groups)
    return Genotype(tuple(tuple(rng.choice(PRIMITIVES) for _ in range(k + 1)) for k in range(groups)))


@pytest.fixture(params=range(1, 9))
def drawn(request):
    genotype = random_genotype(request.param)
    return genotype, Layout(genotype)


def _overlap(a, b):
    return (
        a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.y + b.height and b.y < a.y + a.height
    )  # fmt: skip


def test_no_two_boxes_overlap(drawn):
    _, plan = drawn
    clashes = [(a.name, b.name) for a, b in itertools.combinations(plan.boxes.values(), 2) if _overlap(a, b)]
    assert clashes == []


def test_boxes_stay_on_the_canvas_and_have_unique_names(drawn):
    _, plan = drawn
    assert len({box.name for box in plan.boxes.values()}) == len(plan.boxes)
    for box in plan.boxes.values():
        assert box.x >= 0 and box.y >= 0, box.name
        assert box.x + box.width <= plan.width and box.y + box.height <= plan.height, box.name


def test_text_fits_its_box(drawn):
    _, plan = drawn
    for box in plan.boxes.values():
        if box.kind != 'legend':
            assert all(text_width(line, FONT_SIZE) <= box.width + 1 for line in box.lines), box.name


def test_each_edge_has_one_labelled_operation(drawn):
    genotype, plan = drawn
    boxes = {box.name: box for box in plan.boxes.values()}
    edges = edge_list(genotype.num_groups)
    assert sum(box.kind == 'operation' for box in plan.boxes.values()) == len(edges)
    for source, target in edges:
        name = genotype.operation(source, target)
        box = boxes[edge_name(source, target)]
        assert box.lines == style(name).lines
        assert name in box.hint


def test_wires_are_the_graph_of_the_paper(drawn):
    genotype, plan = drawn
    expected = {('sum', 'summary'), ('summary', 'concat'), ('concat', 'convs'), ('convs', 'residual'),
                ('residual', 'output'), ('output', 'result')}  # fmt: skip
    for j, k in edge_list(genotype.num_groups):
        expected |= {(f'F{k}' if j == k else f'U{j}', edge_name(j, k)), (edge_name(j, k), f'U{k}')}
    for k in range(genotype.num_groups):
        expected |= {(f'U{k}', 'sum'), (f'U{k}', 'concat')}
    wires = [(wire.source, wire.target) for wire in plan.wires]
    assert set(wires) == expected
    assert len(wires) == len(expected)


def test_wires_run_straight_between_rims_and_under_no_box(drawn):
    _, plan = drawn
    boxes = {box.name: box for box in plan.boxes.values()}
    for wire in plan.wires:
        for point, name in ((wire.points[0], wire.source), (wire.points[-1], wire.target)):
            assert _on_rim(point, boxes[name]), (wire.source, wire.target, point)
        assert len(wire.points) <= 3, 'the drawing turns at most once'
        for (ax, ay), (bx, by) in zip(wire.points, wire.points[1:]):
            assert (ax == bx) != (ay == by)
            for box in plan.boxes.values():
                inside = (
                    min(ax, bx) < box.x + box.width - 0.01
                    and max(ax, bx) > box.x + 0.01
                    and min(ay, by) < box.y + box.height - 0.01
                    and max(ay, by) > box.y + 0.01
                )
                assert not inside, (wire.source, wire.target, box.name)


def _on_rim(point, box):
    x, y = point
    on_side = x in (pytest.approx(box.x), pytest.approx(box.x + box.width)) and box.y <= y <= box.y + box.height
    on_end = y in (pytest.approx(box.y), pytest.approx(box.y + box.height)) and box.x <= x <= box.x + box.width
    return on_side or on_end


def test_wires_are_dotted_only_for_none():
    plan = Layout(Genotype((('se',), ('none', 'cbam'))))
    dotted = {(wire.source, wire.target) for wire in plan.wires if wire.dotted}
    assert dotted == {('U0', 'o_0_1'), ('o_0_1', 'U1')}
