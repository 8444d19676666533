"""``torch.compile`` for the cells of a search."""

from __future__ import annotations

from typing import Any

from mmengine.runner import Runner

from mmhoga.search.model import SearchModel


def compile_cells(
    runner: Runner, model: SearchModel, *, cuda_graphs: bool, order: int, hessian: str, **settings: Any
) -> None:
    """Compile the cells if ``compile`` at the top of the config is set, and remove that key.

    Otherwise mmengine would compile ``train_step``, which is only one of the two steps of a search.

    Args:
        runner: with the config.
        model: whose cells are compiled.
        cuda_graphs, order, hessian, settings: see :class:`mmhoga.search.SearchLoop`.

    Raises:
        ValueError: ``compile`` is neither bool nor dict, or is combined with ``hessian='exact'`` or ``cuda_graphs``.
    """
    options = runner.cfg.pop('compile', False)
    if options is False or options is None:
        return
    if options is not True and not isinstance(options, dict):
        raise ValueError(f'compile must be True, False or a dict of options of torch.compile, not {options!r}.')
    if cuda_graphs:
        raise ValueError(
            'train_cfg.cuda_graphs=True captures the steps as they are, without compile. Set cuda_graphs=False; '
            "compile=dict(mode='reduce-overhead') compiles the cells and uses CUDA graphs for them."
        )
    if order == 2 and hessian == 'exact':
        raise ValueError(
            "train_cfg.hessian='exact' differentiates twice, which torch.compile does not support: set "
            "compile=False, or hessian='finite_difference'."
        )
    for cell in model.cells():
        cell.compile(**({} if options is True else options))
    runner.logger.info('The cells are compiled: the first iteration takes minutes.')
