"""Images for detection: discs, squares and triangles with exact boxes and masks."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from mmhoga.datasets.synthetic.canvas import ON, annotation, bright_colour, paint, textured_background

#: The classes, with category ids 1, 2, 3.
SHAPES = ('disc', 'square', 'triangle')
CATEGORIES = [dict(id=i, name=name, supercategory='shape') for i, name in enumerate(SHAPES, start=1)]

_CORNERS = {'square': 4, 'triangle': 3}
_ATTEMPTS = 20


def draw_shapes(random: np.random.RandomState, size: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Draw one to four shapes in random colours and rotations that do not touch each other or the border.

    A shape is 0.16 to 0.44 of the image wide.

    Args:
        random: the only source of randomness.
        size: height and width in pixels, at least 32.

    Returns:
        The image ``(size, size, 3)`` uint8 BGR, and a COCO annotation without ids per shape.
    """
    image = textured_background(random, size)
    taken = np.zeros((size, size), bool)
    annotations = []
    for _ in range(random.randint(1, 5)):
        kind = random.randint(len(SHAPES))
        mask = _place(SHAPES[kind], taken, random)
        if mask is None:
            break
        paint(image, mask, bright_colour(random), random)
        annotations.append(annotation(mask, category_id=CATEGORIES[kind]['id']))
        taken |= cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    return image, annotations


def _place(shape: str, taken: np.ndarray, random: np.random.RandomState) -> np.ndarray | None:
    """The mask of a shape at a free place, or None if no attempt hit one."""
    size = len(taken)
    for _ in range(_ATTEMPTS):
        radius = size * random.uniform(0.09, 0.22)
        centre = random.uniform(radius + 1, size - radius - 2, 2)
        mask = _mask(shape, size, centre, radius, random.uniform(0, 2 * np.pi))
        if not (mask & taken).any():
            return mask
    return None


def _mask(shape: str, size: int, centre: np.ndarray, radius: float, rotation: float) -> np.ndarray:
    """A disc or a regular polygon within ``radius``: ``(size, size)`` bool."""
    mask = np.zeros((size, size), np.uint8)
    if shape == 'disc':
        cv2.circle(mask, np.rint(centre).astype(int).tolist(), round(radius * 0.9), ON, -1)
    else:
        angles = rotation + 2 * np.pi * np.arange(_CORNERS[shape]) / _CORNERS[shape]
        corners = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], ON)
    return mask.astype(bool)
