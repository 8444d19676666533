"""What the generated pictures have in common: a textured ground, bright colours, masks and what follows from them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

#: The colour that cv2 draws a mask with.
ON = (1,)


def textured_ground(random: np.random.RandomState, size: int) -> np.ndarray:
    """A dim, blotchy, noisy square: ``(size, size, 3)`` uint8, values up to about 120.

    Blotches as large as the objects keep a network from finding those by brightness alone.
    """
    coarse = random.uniform(20, 100, (random.randint(3, 8), random.randint(3, 8), 3)).astype(np.float32)
    ground = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(ground + random.normal(0, 10, ground.shape), 0, 255).astype(np.uint8)


def bright_colour(random: np.random.RandomState) -> np.ndarray:
    """A colour of any hue, brighter than the ground: ``(3,)`` uint8."""
    hue_saturation_value = [[[random.randint(180), random.randint(60, 256), random.randint(190, 256)]]]
    return cv2.cvtColor(np.array(hue_saturation_value, np.uint8), cv2.COLOR_HSV2BGR)[0, 0]


def paint(image: np.ndarray, mask: np.ndarray, colour: np.ndarray, random: np.random.RandomState) -> None:
    """Colour the pixels of ``mask`` ``(H, W)`` bool in place, with a little noise."""
    noise = random.normal(0, 8, (int(mask.sum()), 3))
    image[mask] = np.clip(colour + noise, 0, 255).astype(np.uint8)


def bounding_box(mask: np.ndarray) -> list[int]:
    """COCO's ``[x, y, width, height]`` of the pixels of ``mask``; pixel (0, 0) alone is ``[0, 0, 1, 1]``."""
    ys, xs = np.nonzero(mask)
    return [int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1]


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """COCO's uncompressed run-length code of ``mask`` ``(H, W)``: down the columns, zeros first."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    return dict(counts=[0, *counts] if flat[0] else counts, size=list(mask.shape))


def annotation(mask: np.ndarray, **more: Any) -> dict[str, Any]:
    """What COCO says of any object: box, area and segmentation, exactly those of the pixels."""
    return dict(bbox=bounding_box(mask), area=int(mask.sum()), iscrowd=0, segmentation=run_lengths(mask), **more)
