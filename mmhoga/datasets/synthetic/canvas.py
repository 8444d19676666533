"""Drawing and annotating: a textured background, bright colours, and COCO annotations from masks."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

#: The colour of a mask for cv2.
ON = (1,)


def textured_background(random: np.random.RandomState, size: int) -> np.ndarray:
    """A dim, blotchy, noisy background: ``(size, size, 3)`` uint8, values up to about 120.

    The blotches are as large as the objects, so that low frequencies alone do not give the objects away.
    """
    coarse = random.uniform(20, 100, (random.randint(3, 8), random.randint(3, 8), 3)).astype(np.float32)
    background = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(background + random.normal(0, 10, background.shape), 0, 255).astype(np.uint8)


def bright_colour(random: np.random.RandomState) -> np.ndarray:
    """A random BGR colour, brighter than the background: ``(3,)`` uint8."""
    hue_saturation_value = [[[random.randint(180), random.randint(60, 256), random.randint(190, 256)]]]
    return cv2.cvtColor(np.array(hue_saturation_value, np.uint8), cv2.COLOR_HSV2BGR)[0, 0]


def paint(image: np.ndarray, mask: np.ndarray, colour: np.ndarray, random: np.random.RandomState) -> None:
    """Colour the pixels of ``mask`` ``(H, W)`` bool in place, with slight noise."""
    noise = random.normal(0, 8, (int(mask.sum()), 3))
    image[mask] = np.clip(colour + noise, 0, 255).astype(np.uint8)


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """COCO's uncompressed run-length encoding of ``mask`` ``(H, W)``: column by column, zeros first."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    return dict(counts=[0, *counts] if flat[0] else counts, size=list(mask.shape))


def annotation(mask: np.ndarray, **more: Any) -> dict[str, Any]:
    """A COCO annotation with the exact box, area and segmentation of a mask."""
    box = list(cv2.boundingRect(mask.astype(np.uint8)))
    return dict(bbox=box, area=int(mask.sum()), iscrowd=0, segmentation=run_lengths(mask), **more)
