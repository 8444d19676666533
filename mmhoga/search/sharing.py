"""Which cells of a search model share an alpha: those of a stage, and of one K."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mmhoga.models.cell_choice import cell_name
from mmhoga.models.supernet import SearchableHOGA


def by_stage(names: list[str], pattern: str) -> dict[str, list[str]]:
    """The names of cells by the stage that a regular expression finds in them.

    Raises:
        ValueError: a name without a match.
    """
    stages: dict[str, list[str]] = {}
    for name in names:
        match = re.search(pattern, name)
        if match is None:
            raise ValueError(
                f'alpha_per="stage": the cell {name!r} is in no stage of {pattern!r}. Set stage_pattern to a '
                'regular expression that matches the stages of this backbone.'
            )
        stages.setdefault(match[0].replace('.', '_'), []).append(name)
    return stages


def by_num_groups(groups: Mapping[str, list[str]], cells: Mapping[str, SearchableHOGA]) -> dict[str, list[str]]:
    """The names of the cells that share an alpha: ``groups``, each divided by K if there are several."""
    every = sorted({cell.num_groups for cell in cells.values()})
    if len(every) == 1:
        return dict(groups)
    divided = {
        '_'.join(filter(None, (stage, cell_name(k)))): [name for name in names if cells[name].num_groups == k]
        for stage, names in groups.items()
        for k in every
    }
    return {name: names for name, names in divided.items() if names}
