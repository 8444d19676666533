"""A module of a network and the attention cell after or before it, with the keys that the network had without it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from mmhoga.insertion.layouts import on_map, size_in


class Inserted(nn.Module):
    """``cell(module(x))``, or ``module(cell(x))``.

    Everything except the forward pass is that of ``module``: attributes, length, indices, and the keys of the state
    dict. The keys of the cell are added under its name: with a cell ``hoga`` after ``layer1.0.conv2``, a network has
    the additional keys ``layer1.0.conv2.hoga.*``, and a checkpoint of the plain network matches all others.

    Args:
        module: the module of the network.
        cell: maps ``(N, C, H, W)`` to the same shape.
        name: of the cell in this module, such as ``hoga``.
        layout: of the map, one of :data:`mmhoga.insertion.layouts.LAYOUTS`.
        before: whether the cell runs before the module.
        extra_tokens: the tokens before the map in the layout ``NLC``, such as a class token.
        cell_config: the config that the cell was built from; None if a function built it.
    """

    def __init__(
        self,
        module: nn.Module,
        cell: nn.Module,
        *,
        name: str,
        layout: str,
        before: bool = False,
        extra_tokens: int = 0,
        cell_config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.cell_name = name
        self.layout = layout
        self.before = before
        self.extra_tokens = extra_tokens
        self.cell_config = cell_config
        self.training = module.training
        self._prefix = ''  # in the state dict that is being loaded
        # In the order of the calls, on which the functions that fold batch norms rely.
        for child_name, child in ((name, cell), ('module', module)) if before else (('module', module), (name, cell)):
            self.add_module(child_name, child)
        self._register_state_dict_hook(_to_plain_keys)
        self.register_load_state_dict_post_hook(_to_plain_names)

    @property
    def cell(self) -> nn.Module:
        """The attention."""
        cell = self._modules[self.cell_name]
        assert cell is not None
        return cell

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Apply both. If the module returns a tuple, such as (tokens, (height, width)), its first value is the map."""
        if self.before:
            return self.module(self._attend(args[0], (*args[1:], *kwargs.values())), *args[1:], **kwargs)
        output = self.module(*args, **kwargs)
        if isinstance(output, (tuple, list)):
            return type(output)((self._attend(output[0], output[1:]), *output[1:]))
        return self._attend(output, (*args[1:], *kwargs.values()))

    def _attend(self, x: Tensor, others: Any) -> Tensor:
        size = size_in(others, x.size(1) - self.extra_tokens) if self.layout == 'NLC' else None
        return on_map(self.cell, x, self.layout, size, self.extra_tokens)

    def init_weights(self) -> None:
        """Initialise the module and then the cell, as mmengine's BaseModule does with its children."""
        for child in (self.module, self.cell):
            initialise: Any = getattr(child, 'init_weights', None)
            if initialise is not None:
                initialise()

    def extra_repr(self) -> str:
        return f'{self.cell_name} {"before" if self.before else "after"} module, {self.layout}'

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == 'module':  # not there yet, in a copy
                raise
            return getattr(self.module, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set what the module has on the module: ``conv.weight``, also for ``torch.func.functional_call``."""
        module: Any = self.__dict__.get('_modules', {}).get('module')
        own = name in self.__dict__ or name in self._modules or hasattr(type(self), name)
        if module is None or own or not hasattr(module, name):
            super().__setattr__(name, value)
        elif name in module._parameters and isinstance(value, Tensor):
            module._parameters[name] = value  # functional_call sets tensors that are no Parameters
        else:
            setattr(module, name, value)

    def __len__(self) -> int:
        return len(self.module)  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        return True  # not the length

    def __iter__(self) -> Iterator[Any]:
        return iter(self.module)  # type: ignore[call-overload]

    def __getitem__(self, index: Any) -> Any:
        return self.module[index]  # type: ignore[index]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Give the keys of the module the prefix that they have here, before the children are loaded."""
        own = (f'{prefix}{self.cell_name}.', f'{prefix}module.')
        for key in [key for key in state_dict if key.startswith(prefix) and not key.startswith(own)]:
            state_dict[f'{prefix}module.{key[len(prefix) :]}'] = state_dict.pop(key)
        self._prefix = prefix
        super()._load_from_state_dict(state_dict, prefix, *args)


def _to_plain_keys(inserted: Inserted, state_dict: dict[str, Any], prefix: str, local_metadata: Any) -> None:
    """Give the keys of the module their plain names in a state dict that was just made."""
    for key in [key for key in state_dict if key.startswith(prefix)]:
        state_dict[_plain(key, prefix)] = state_dict.pop(key)  # each is put back, so that the order stays
    versions: dict[str, Any] = getattr(state_dict, '_metadata', {})
    for name in [name for name in versions if f'{name}.'.startswith(f'{prefix}module.')]:
        versions[_plain(f'{name}.', prefix).rstrip('.')] = versions.pop(name)


def _to_plain_names(inserted: Inserted, incompatible_keys: Any) -> None:
    """The same in the names of missing and unexpected keys, for messages."""
    for names in incompatible_keys:
        names[:] = [_plain(name, inserted._prefix) for name in names]


def _plain(key: str, prefix: str) -> str:
    own = f'{prefix}module.'
    return prefix + key[len(own) :] if key.startswith(own) else key
