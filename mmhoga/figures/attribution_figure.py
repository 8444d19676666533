"""Rows of images, with each network's Grad-CAM over the image and its guided back-propagation (paper, Fig. 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from mmhoga.figures.figure_files import file_style
from mmhoga.look.outputs import upsample

HEAT = 'inferno'
_SMALLEST = 96  # images with a shorter side, in pixels, are enlarged


@dataclass(frozen=True)
class Attribution:
    """Attributions of one network for one image.

    Attributes:
        cam: Grad-CAM at the image's size, ``(H, W)``, unscaled.
        guided: guided back-propagation, ``(C, H, W)``, unscaled.
        caption: the explained class and its probability.
    """

    cam: np.ndarray
    guided: np.ndarray
    caption: str


def attribution_figure(
    images: Sequence[np.ndarray], titles: Sequence[str], networks: Mapping[str, Sequence[Attribution]]
) -> Figure:
    """One row per image.

    Args:
        images: ``(H, W, 3)`` or ``(H, W)`` in [0, 1].
        titles: one per image.
        networks: by name, one attribution per image.
    """
    columns = 1 + 2 * len(networks)
    with file_style():
        engine = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
        figure = Figure(figsize=(1.45 * columns + 0.2, 1.62 * len(images) + 0.55), layout=engine)
        grid = figure.subplots(len(images), columns, squeeze=False)
        for row, (image, title) in enumerate(zip(images, titles)):
            _show(grid[row, 0], image, title, 'image' if row == 0 else '')
            for index, (name, attributions) in enumerate(networks.items()):
                one = attributions[row]
                head = [f'{name}\nGrad-CAM', f'{name}\nguided'] if row == 0 else ['', '']
                _show(grid[row, 1 + 2 * index], overlay(image, one.cam), one.caption, head[0])
                _show(grid[row, 2 + 2 * index], guided_image(one.guided), '', head[1])
    return figure


def overlay(image: np.ndarray, heat: np.ndarray, *, scale: float | None = None, veil: float = 0.35) -> np.ndarray:
    """Heat over an image in grey, ``(H', W', 3)`` in [0, 1].

    Args:
        image: ``(H, W, 3)`` or ``(H, W)`` in [0, 1]; a small one is enlarged by a whole factor, so that its pixels stay
            square and the heat smooth.
        heat: ``(H, W)``, shown as a share of ``scale``.
        scale: None: the heat's maximum.
        veil: share of the image in the result.
    """
    top = float(heat.max()) if scale is None else scale
    share = heat / top if top > 0 else np.zeros_like(heat)
    grey = image.mean(-1) if image.ndim == 3 else image
    factor = -(-_SMALLEST // min(grey.shape))
    if factor > 1:
        grey = grey.repeat(factor, 0).repeat(factor, 1)
        share = upsample(torch.from_numpy(np.ascontiguousarray(share))[None], grey.shape)[0].numpy()
    coloured = matplotlib.colormaps[HEAT](share)[..., :3]
    return np.clip(veil * grey[..., None] + (1 - veil) * coloured, 0, 1)


def guided_image(gradient: np.ndarray) -> np.ndarray:
    """``(C, H, W)`` to ``(H, W, 3)`` in [0, 1], grey where the gradient is 0."""
    top = float(np.abs(gradient).max())
    shown = 0.5 + (0.5 / top if top > 0 else 0.0) * gradient
    if shown.shape[0] != 3:
        shown = np.repeat(shown.mean(0, keepdims=True), 3, axis=0)
    return shown.transpose(1, 2, 0)


def _show(axes: Axes, image: np.ndarray, below: str, above: str) -> None:
    axes.imshow(image, cmap='gray', vmin=0, vmax=1, interpolation='nearest')
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel(below, fontsize=7.5, labelpad=2)
    if above:
        axes.set_title(above, fontsize=9)
