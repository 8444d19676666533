"""``torch.compile`` by region: cells of one structure share one compiled function, whatever their weights.

A network of 16 cells in 4 widths compiles 4 functions per mode. Image and batch sizes are dynamic: a new size compiles
nothing. Hooks, checks and the update of running statistics stay outside of the compiled function.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from mmhoga.models.fast.joint import FusedWeights, JointForm, arranged
from mmhoga.models.fast.joint_cell import Structure, forward
from mmhoga.models.fast.joint_weights import Layers, batch_statistics, live

MODES = ('default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs')

_functions: dict[Hashable, Function] = {}


class Region:
    """Runs the joint form of a cell, compiled.

    Args:
        mode: of ``torch.compile``. ``'reduce-overhead'`` records CUDA graphs, which have fixed sizes.
        dynamic: whether one function serves all sizes; by default, unless the mode records CUDA graphs. Otherwise every
            size is compiled.
        options: others of ``torch.compile``.

    Raises:
        ValueError: an unknown mode.
    """

    def __init__(self, mode: str | None = None, dynamic: bool | None = None, **options: Any) -> None:
        if mode not in (None, *MODES):
            raise ValueError(f'compile={mode!r} is not a mode of torch.compile. Use True or one of {", ".join(MODES)}.')
        self.options = {**options, **({} if mode is None else {'mode': mode})}
        graphs = mode in ('reduce-overhead', 'max-autotune')
        self.dynamic = not graphs if dynamic is None else dynamic

    @classmethod
    def of(cls, setting: Any) -> Region | None:
        """From the value of ``compile`` in a config: a bool, a mode, or a dict of arguments."""
        if isinstance(setting, bool):
            return cls() if setting else None
        if isinstance(setting, (str, dict)):
            return cls(setting) if isinstance(setting, str) else cls(**setting)
        raise ValueError(f'compile must be True, False, a mode or a dict of options of torch.compile, not {setting!r}.')

    def run(self, x: Tensor, form: JointForm) -> Tensor:
        """The output of a cell; updates its running statistics in training mode."""
        layers, mlps = form.snapshot()
        key = (form.structure, form.shapes, form.norms[0].training)
        y, statistics = self._function(key, _run, form.structure)(x, layers, mlps)
        form.update(statistics)
        return y

    def run_fused(self, x: Tensor, fused: FusedWeights) -> Tensor:
        """The output of a cell whose norms were folded into its weights."""
        shapes = tuple(tuple(buffer.shape) for buffer in fused.buffers())
        return self._function((fused.structure, shapes), forward, fused.structure)(x, fused.weights())

    def _function(self, key: Hashable, run: Callable[..., Any], structure: Structure) -> Function:
        key = (key, run.__name__, self.dynamic, repr(sorted(self.options.items())))
        if key not in _functions:
            _functions[key] = Function(run, structure, self.dynamic, self.options)
        return _functions[key]


class Function:
    """``run(x, structure, *weights)``, compiled for one structure."""

    def __init__(self, run: Callable[..., Any], structure: Structure, dynamic: bool, options: dict[str, Any]) -> None:
        def cell(x: Tensor, *weights: Any) -> Any:
            return run(x, structure, *weights)

        # torch limits the number of graphs per code object, and looks through all of them in each call.
        name = f'hoga_cell_{len(_functions)}'
        code = cell.__code__.replace(co_name=name)
        own = FunctionType(code, cell.__globals__, name, None, cell.__closure__)
        self.compiled = torch.compile(own, dynamic=False, **options)
        self.dynamic = dynamic
        self.seen: set[Hashable] = set()

    def __call__(self, x: Tensor, *weights: Any) -> Any:
        if not self.dynamic:
            return self.compiled(x, *weights)
        import torch._dynamo  # not at the top: the import looks for compilers and logs that

        # Missing before torch 2.1. A size of 1 has a graph of its own either way.
        mark = getattr(torch._dynamo, 'maybe_mark_dynamic', torch._dynamo.mark_dynamic)
        mark(x, [i for i in (0, 2, 3) if x.size(i) > 1])
        state = (x.shape, x.stride(), x.dtype, x.device, x.requires_grad, torch.is_grad_enabled())
        if state in self.seen:
            return self.compiled(x, *weights)
        self.seen.add(state)
        with _settings_for_dynamic_sizes():
            return self.compiled(x, *weights)


@contextmanager
def _settings_for_dynamic_sizes() -> Iterator[None]:
    """Settings for a call that may compile.

    - A first image with equal sides does not make a graph for such images only.
    - The code generator of torch 2.14 fails on a view in channels_last that it keeps for the backward pass ("cannot
      determine truth value of Relational"), unless outputs have exact strides.
    """
    from torch._inductor import config as inductor
    from torch.fx.experimental import _config as shapes

    with ExitStack() as stack:
        for config, setting, value in ((shapes, 'use_duck_shape', False), (inductor, 'strict_output_strides', True)):
            if hasattr(config, setting):
                stack.enter_context(config.patch({setting: value}))
        yield


def _run(x: Tensor, structure: Structure, layers: Sequence[Layers], mlps: Any) -> tuple[Tensor, list[Tensor]]:
    stages, joint_mlps = live(layers, mlps)
    y = forward(x, structure, arranged(structure, stages, joint_mlps))
    return y, batch_statistics(layers, stages)
