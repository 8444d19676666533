"""Candidates of a user's own, beside those of :mod:`mmhoga.models.operations`: registered by name, checked when built.

A name is enough: the config that searches it, and the one that trains what was found, import the module::

    custom_imports = dict(imports=['your_module'])
    plugins = [dict(cfg=dict(type='mmhoga.SearchableHOGA', primitives=['skip_connect', 'norm_3x3', 'yours']), ...)]
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, Callable

import torch

from mmhoga.genotype import GenotypeError, add_primitive, unknown_primitive
from mmhoga.models.operations import OPERATIONS, AttentionOperation, Source

_SIGNATURE = '__init__(self, channels, edges=1, *, reduction, affine)'
_own: set[str] = set()


def register_primitive(name: str) -> Callable[[type], type]:
    """A decorator: make a class a candidate of searches and an operation of genotypes, under ``name``.

    The class derives from :class:`mmhoga.models.AttentionOperation`, whose contract it keeps: the constructor takes
    ``(channels, edges=1, *, reduction, affine)``; ``gate(source)`` returns a factor that broadcasts to
    ``(N, edges, channels, H, W)``; the weights of the edges are stacked along the first dimension of every parameter
    and buffer (or :meth:`~mmhoga.models.AttentionOperation.edge_state` says how to take those of one edge). The
    contract is checked on small tensors when a cell is built, and what breaks it is named.

    Registering a name again replaces the class, so that a module can be reloaded.

    Raises:
        ValueError: the name of a built-in primitive, or no identifier.
        TypeError: no subclass of ``AttentionOperation``.

    Example:
        >>> import torch
        >>> from mmhoga.models import HOGA, AttentionOperation, register_primitive
        >>> @register_primitive('half')
        ... class Half(AttentionOperation):
        ...     def gate(self, source):
        ...         return torch.full_like(source.x[:1, :1, :1, :1, :1], 0.5)
        >>> HOGA(4, genotype=[['half']]).genotype.edges
        (('half',),)
    """
    if not isinstance(name, str):
        raise TypeError(f"Name the primitive: @register_primitive('its_name'), not @register_primitive on {name!r}.")

    def register(operation: type) -> type:
        if not (isinstance(operation, type) and issubclass(operation, AttentionOperation)):
            raise TypeError(f'The primitive {name!r} must derive from mmhoga.models.AttentionOperation: {operation!r}.')
        add_primitive(name)
        OPERATIONS[name] = operation
        _own.add(name)
        return operation

    return register


def build_operation(
    name: str, channels: int, edges: int = 1, *, reduction: int = 4, affine: bool = True
) -> AttentionOperation:
    """The operation called ``name`` for so many edges.

    Raises:
        mmhoga.genotype.GenotypeError: there is none of that name.
        TypeError, ValueError: it is a user's own and breaks the contract; the message says how.
    """
    if name not in OPERATIONS:
        raise GenotypeError(f'A cell is to be built with an {unknown_primitive(name)}')
    operation = OPERATIONS[name]
    if name in _own:
        _check_contract(name, operation, channels, reduction)
    return operation(channels, edges, reduction=reduction, affine=affine)


@cache
def _check_contract(name: str, operation: Callable[..., AttentionOperation], channels: int, reduction: int) -> None:
    """Build it for one edge and for two, and try what a cell will ask of it; leaves no trace in random numbers."""
    who = f'The primitive {name!r} ({operation.__module__}.{operation.__qualname__})'
    try:
        inspect.signature(operation).bind(channels, 2, reduction=reduction, affine=False)
    except TypeError as error:
        raise TypeError(
            f'{who} has the signature {inspect.signature(operation)}, but a cell calls it as {_SIGNATURE} ({error}).'
        ) from None
    with torch.random.fork_rng(devices=[]), torch.device('cpu'), torch.no_grad():
        one, two = (operation(channels, edges, reduction=reduction, affine=False).eval() for edges in (1, 2))
        for edges, built in ((1, one), (2, two)):
            x = torch.rand(3, edges, channels, 6, 5)
            _check_gate(who, built.gate(Source(x)), x)
        _check_edge_state(who, one, two)


def _check_gate(who: str, gate: Any, x: torch.Tensor) -> None:
    if not isinstance(gate, torch.Tensor):
        raise TypeError(f'{who}: gate(source) must return a tensor, not {type(gate).__name__}.')
    sizes = zip(reversed(gate.shape), reversed(x.shape))
    if gate.dim() > x.dim() or any(mine not in (1, wanted) for mine, wanted in sizes):
        raise ValueError(
            f'{who}: gate(source) has the shape {tuple(gate.shape)}, which does not broadcast to {tuple(x.shape)}, '
            f'that is (N, edges, channels, H, W), for an input of that shape and edges={x.size(1)}.'
        )


def _check_edge_state(who: str, one: AttentionOperation, two: AttentionOperation) -> None:
    state = two.edge_state(1)
    wanted = {key: tuple(value.shape) for key, value in one.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in state.items()}
    if wanted != given:
        key = next(key for key in (*wanted, *given) if wanted.get(key) != given.get(key))
        raise ValueError(
            f'{who} does not stack the weights of its edges along their first dimension: from edges=2, {key} of one '
            f'edge is {given.get(key)}, but with edges=1 it is {wanted.get(key)}. Give every parameter and buffer '
            'edges * n entries in its first dimension (a convolution: groups=edges), or override edge_state(edge).'
        )
