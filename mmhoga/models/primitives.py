"""Primitives that users add to those of :mod:`mmhoga.models.operations`: registered by name, checked when built.

The config of a search and the config that trains its result both import the module of the primitive::

    custom_imports = dict(imports=['your_module'])
    plugins = [dict(cfg=dict(type='mmhoga.SearchableHOGA', primitives=['skip_connect', 'norm_3x3', 'yours']), ...)]
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any, Callable

import torch

from mmhoga.genotype import PRIMITIVES, GenotypeError, add_primitive, unknown_primitive
from mmhoga.models.operations import OPERATIONS, AttentionOperation, EdgeInput

_SIGNATURE = '__init__(self, channels, edges=1, *, reduction, affine)'


def register_primitive(name: str) -> Callable[[type], type]:
    """Class decorator: register an operation as the primitive ``name``, for searches and genotypes.

    The class derives from :class:`mmhoga.AttentionOperation` and keeps its contract, which is checked on small tensors
    when a cell is built:

    - The constructor takes ``(channels, edges=1, *, reduction, affine)``, and ``norm_cfg`` if it has norms that follow
      those of the cell (:func:`mmhoga.models.norms.build_norm`).
    - ``gate(edge_input)`` returns a factor that broadcasts to ``(N, edges, channels, H, W)``.
    - The first dimension of every parameter and buffer stacks the weights of the edges. Otherwise override
      :meth:`~mmhoga.models.AttentionOperation.edge_state`, which takes the weights of one edge.

    Registering a name again replaces the class, so that a module can be reloaded.

    Raises:
        ValueError: the name belongs to a built-in primitive, or is not an identifier.
        TypeError: the class does not derive from ``AttentionOperation``.

    Example:
        >>> from mmhoga.models import HOGA, AttentionOperation, register_primitive
        >>> @register_primitive('half')
        ... class Half(AttentionOperation):
        ...     def gate(self, edge_input):
        ...         return edge_input.x.new_full((), 0.5)
        >>> HOGA(4, genotype=[['half']]).genotype.edges
        (('half',),)
    """
    if not isinstance(name, str):
        raise TypeError(f"Write @register_primitive('its_name'): the argument is a name, not {name!r}.")

    def register(operation: type) -> type:
        if not (isinstance(operation, type) and issubclass(operation, AttentionOperation)):
            raise TypeError(
                f'The primitive {name!r} must derive from mmhoga.models.AttentionOperation, not {operation!r}.'
            )
        add_primitive(name)
        OPERATIONS[name] = operation
        return operation

    return register


def build_operation(
    name: str,
    channels: int,
    edges: int = 1,
    *,
    reduction: int = 4,
    affine: bool = True,
    norm_cfg: Mapping[str, Any] | None = None,
) -> AttentionOperation:
    """Build the operation of the primitive ``name``. One without a ``norm_cfg`` argument keeps its own norms.

    Raises:
        mmhoga.genotype.GenotypeError: an unknown name.
        TypeError, ValueError: a registered class breaks the contract; the message names the part.
    """
    if name not in OPERATIONS:
        raise GenotypeError(f'The cell has an {unknown_primitive(name)}')
    operation = OPERATIONS[name]
    if name not in PRIMITIVES:
        _check_contract(name, operation, channels, reduction)
    norms = {'norm_cfg': norm_cfg} if norm_cfg and 'norm_cfg' in inspect.signature(operation).parameters else {}
    return operation(channels, edges, reduction=reduction, affine=affine, **norms)


@cache
def _check_contract(name: str, operation: Callable[..., AttentionOperation], channels: int, reduction: int) -> None:
    """Build the operation for one and for two edges and check its gates and states; random numbers stay untouched."""
    who = f'The primitive {name!r} ({operation.__module__}.{operation.__qualname__})'
    try:
        inspect.signature(operation).bind(channels, 2, reduction=reduction, affine=False)
    except TypeError as error:
        raise TypeError(
            f'{who} has the signature {inspect.signature(operation)}, but a cell calls it as {_SIGNATURE} ({error}).'
        ) from None
    with torch.random.fork_rng(devices=[]), torch.device('cpu'), torch.no_grad():
        single, double = (operation(channels, edges, reduction=reduction, affine=False).eval() for edges in (1, 2))
        for edges, built in ((1, single), (2, double)):
            x = torch.rand(3, edges, channels, 6, 5)
            gate: Any = built.gate(EdgeInput(x))
            if not isinstance(gate, torch.Tensor):
                raise TypeError(f'{who}: gate(edge_input) must return a tensor, not {type(gate).__name__}.')
            try:
                gate.expand_as(x)
            except RuntimeError:
                raise ValueError(
                    f'{who}: gate(edge_input) has the shape {tuple(gate.shape)}, which does not broadcast to the shape '
                    f'of its input, {tuple(x.shape)} = (N, edges, channels, H, W), with edges={edges}.'
                ) from None
    wanted = {key: tuple(value.shape) for key, value in single.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in double.edge_state(1).items()}
    if wanted != given:
        key = next(key for key in (*wanted, *given) if wanted.get(key) != given.get(key))
        raise ValueError(
            f'{who} does not stack the weights of its edges along their first dimension: with edges=2, {key} of one '
            f'edge is {given.get(key)}, but with edges=1 it is {wanted.get(key)}. Give the first dimension of every '
            'parameter and buffer edges * n entries (a convolution: groups=edges), or override edge_state(edge).'
        )
