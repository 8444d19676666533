"""Images with COCO annotations: shapes for detection, and stick people with COCO's 17 keypoints.

Both draw bright objects on a textured background, from one source of random numbers.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

#: The classes, with category ids 1, 2, 3.
SHAPES = ('disc', 'square', 'triangle')
SHAPE_CATEGORIES = [dict(id=i, name=name, supercategory='shape') for i, name in enumerate(SHAPES, start=1)]
#: COCO's keypoints in COCO's order.
KEYPOINTS = (
    *('nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder', 'right_shoulder'),
    *('left_elbow', 'right_elbow', 'left_wrist', 'right_wrist', 'left_hip', 'right_hip'),
    *('left_knee', 'right_knee', 'left_ankle', 'right_ankle'),
)
#: Pairs of indices into KEYPOINTS, from 1 as in COCO.
SKELETON = [
    *([16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9]),
    *([8, 10], [9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7]),
]
PERSON_CATEGORIES = [dict(id=1, name='person', supercategory='person', keypoints=list(KEYPOINTS), skeleton=SKELETON)]

_LIMBS = ((5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16))
_TRUNK = (5, 6, 12, 11)
_OCCLUDED, _VISIBLE = 1, 2  # COCO's visibility v; 0 is a keypoint without a label

ON = (1,)  # the colour of a mask for cv2


def draw_shapes(random: np.random.RandomState, size: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Draw one to four shapes in random colours and rotations that do not touch each other or the border.

    A shape is 0.16 to 0.44 of the image wide; ``size`` is at least 32 pixels.

    Returns:
        The image ``(size, size, 3)`` uint8 BGR, and a COCO annotation without ids per shape.
    """
    image = _textured_background(random, size)
    taken = np.zeros((size, size), bool)
    annotations = []
    for _ in range(random.randint(1, 5)):
        kind = random.randint(len(SHAPES))
        mask = _place_shape(SHAPES[kind], taken, random)
        if mask is None:
            break
        _paint(image, mask, _bright_colour(random), random)
        annotations.append(_annotation(mask, category_id=SHAPE_CATEGORIES[kind]['id']))
        taken |= cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    return image, annotations


def _place_shape(shape: str, taken: np.ndarray, random: np.random.RandomState) -> np.ndarray | None:
    """The mask of a shape at a free place, or None if no attempt hit one."""
    size = len(taken)
    for _ in range(20):
        radius = size * random.uniform(0.09, 0.22)
        centre = random.uniform(radius + 1, size - radius - 2, 2)
        mask = _shape_mask(shape, size, centre, radius, random.uniform(0, 2 * np.pi))
        if not (mask & taken).any():
            return mask
    return None


def _shape_mask(shape: str, size: int, centre: np.ndarray, radius: float, rotation: float) -> np.ndarray:
    """A disc or a regular polygon within ``radius``: ``(size, size)`` bool."""
    mask = np.zeros((size, size), np.uint8)
    if shape == 'disc':
        cv2.circle(mask, np.rint(centre).astype(int).tolist(), round(radius * 0.9), ON, -1)
    else:
        count = 4 if shape == 'square' else 3
        angles = rotation + 2 * np.pi * np.arange(count) / count
        corners = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], ON)
    return mask.astype(bool)


def draw_people(random: np.random.RandomState, size: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Draw one or two people side by side, facing the viewer, so that their left is at the right.

    Hands and feet may lie outside the image (v = 0), and a third of the people stand behind a plank. Box and area
    cover the visible part of a person. A keypoint behind a plank or the other person has v = 1.

    Returns:
        As :func:`draw_shapes`, per person.
    """
    image = _textured_background(random, size)
    count = random.randint(1, 3)
    poses: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    planks: list[np.ndarray] = []
    for i in range(count):
        column = size / count
        height = random.uniform(0.6, 0.9) * min(size, 1.9 * column)
        x = column * (i + 0.5) + random.uniform(-0.06, 0.06) * column
        y = random.uniform(0.05, 0.14) * size + max(0, random.uniform(-0.2, 1) * (0.9 * size - height))
        points = height * _pose(random) + (x, y)
        mask = _draw_person(image, points, height, random)
        plank = np.zeros_like(mask)
        if random.uniform() < 1 / 3:
            plank = _plank(points, height, size, random)
            _paint(image, plank, random.randint(60, 160, 3), random)
        masks = [*(earlier & ~mask & ~plank for earlier in masks), mask & ~plank]
        poses.append(points)
        planks.append(plank)
    covers = [np.any([*planks[i:], *masks[i + 1 :]], axis=0) for i in range(count)]
    return image, [_person_annotation(*person) for person in zip(poses, masks, covers)]


def _person_annotation(points: np.ndarray, mask: np.ndarray, cover: np.ndarray) -> dict[str, Any]:
    """From keypoints ``(17, 2)``, the visible part of a person, and what stands in front, both ``(H, W)`` bool."""
    last = len(mask) - 1
    columns, rows = np.clip(np.rint(points), 0, last).astype(int).T
    visibility = np.where(cover[rows, columns], _OCCLUDED, _VISIBLE)
    visibility[((points < 0) | (points > last)).any(axis=1)] = 0
    labelled = visibility > 0
    keypoints = np.column_stack([np.where(labelled[:, None], points.round(2), 0), visibility])
    return _annotation(mask, category_id=1, num_keypoints=int(labelled.sum()), keypoints=keypoints.ravel().tolist())


def _pose(random: np.random.RandomState) -> np.ndarray:
    """Keypoints ``(17, 2)`` of a person about 1 tall, with the top of the head at (0, 0)."""
    points = np.zeros((len(KEYPOINTS), 2))
    points[0] = 0, 0.105
    points[1:3] = (0.035, 0.075), (-0.035, 0.075)
    points[3:5] = (0.085, 0.09), (-0.085, 0.09)
    points[5:7] = (0.12, 0.23), (-0.12, 0.23)
    points[11:13] = (0.075, 0.53), (-0.075, 0.53)
    for left, side in ((5, 1), (6, -1)):
        upper, lower = random.uniform(0.1, 2.4), random.uniform(-0.6, 1.2)  # from hanging to raised
        points[left + 2] = points[left] + 0.15 * _direction(upper, side)
        points[left + 4] = points[left + 2] + 0.14 * _direction(upper + lower, side)
    for left, side in ((11, 1), (12, -1)):
        upper, lower = random.uniform(0.0, 0.7), random.uniform(-0.5, 0.2)
        points[left + 2] = points[left] + 0.22 * _direction(upper, side)
        points[left + 4] = points[left + 2] + 0.22 * _direction(upper + lower, side)
    return points


def _direction(angle: float, side: int) -> np.ndarray:
    """A unit vector: down at 0, sideways at pi / 2."""
    return np.array([side * np.sin(angle), np.cos(angle)])


def _draw_person(image: np.ndarray, points: np.ndarray, height: float, random: np.random.RandomState) -> np.ndarray:
    """Paint a person and return the mask ``(H, W)`` bool."""
    body, head, dots = (np.zeros(image.shape[:2], np.uint8) for _ in range(3))
    at = np.rint(points).astype(np.int32)
    thickness = max(2, round(0.06 * height))
    cv2.fillPoly(body, [at[list(_TRUNK)]], ON)
    for start, end in (*_LIMBS, (5, 6)):
        cv2.line(body, at[start].tolist(), at[end].tolist(), ON, thickness)
    neck = (at[5] + at[6]) // 2
    cv2.line(body, at[0].tolist(), neck.tolist(), ON, thickness)
    cv2.circle(head, at[0].tolist(), max(3, round(0.095 * height)), ON, -1)
    for ear in at[3:5]:
        cv2.circle(head, ear.tolist(), max(1, round(0.025 * height)), ON, -1)
    for dot in at[:3]:
        cv2.circle(dots, dot.tolist(), max(1, round(0.012 * height)), ON, -1)
    clothes, skin = _bright_colour(random), _bright_colour(random)
    for part, colour in ((body, clothes), (head, skin), (dots, np.array([20, 20, 20]))):
        _paint(image, part.astype(bool), colour, random)
    return (body | head | dots).astype(bool)


def _plank(points: np.ndarray, height: float, size: int, random: np.random.RandomState) -> np.ndarray:
    """A horizontal bar in front of a person, between elbows and shins: ``(size, size)`` bool."""
    left, right = points[:, 0].min() - 2, points[:, 0].max() + 2
    top = points[0, 1] + random.uniform(0.25, 0.75) * height
    plank = np.zeros((size, size), np.uint8)
    corners = np.rint([(left, top), (right, top + 0.08 * height)]).astype(int).tolist()
    cv2.rectangle(plank, corners[0], corners[1], ON, -1)
    return plank.astype(bool)


def _textured_background(random: np.random.RandomState, size: int) -> np.ndarray:
    """A dim, blotchy, noisy background: ``(size, size, 3)`` uint8, values up to about 120.

    The blotches are as large as the objects, so that low frequencies alone do not give the objects away.
    """
    coarse = random.uniform(20, 100, (random.randint(3, 8), random.randint(3, 8), 3)).astype(np.float32)
    background = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(background + random.normal(0, 10, background.shape), 0, 255).astype(np.uint8)


def _bright_colour(random: np.random.RandomState) -> np.ndarray:
    """A random BGR colour, brighter than the background: ``(3,)`` uint8."""
    hue_saturation_value = [[[random.randint(180), random.randint(60, 256), random.randint(190, 256)]]]
    return cv2.cvtColor(np.array(hue_saturation_value, np.uint8), cv2.COLOR_HSV2BGR)[0, 0]


def _paint(image: np.ndarray, mask: np.ndarray, colour: np.ndarray, random: np.random.RandomState) -> None:
    """Colour the pixels of ``mask`` ``(H, W)`` bool in place, with slight noise."""
    noise = random.normal(0, 8, (int(mask.sum()), 3))
    image[mask] = np.clip(colour + noise, 0, 255).astype(np.uint8)


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """COCO's uncompressed run-length encoding of ``mask`` ``(H, W)``: column by column, zeros first."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    return dict(counts=[0, *counts] if flat[0] else counts, size=list(mask.shape))


def _annotation(mask: np.ndarray, **more: Any) -> dict[str, Any]:
    """A COCO annotation with the exact box, area and segmentation of a mask."""
    box = list(cv2.boundingRect(mask.astype(np.uint8)))
    return dict(bbox=box, area=int(mask.sum()), iscrowd=0, segmentation=run_lengths(mask), **more)
