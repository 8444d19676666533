"""Images for pose estimation: stick people with COCO's 17 keypoints."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from mmhoga.datasets.synthetic.canvas import ON, annotation, bright_colour, paint, textured_background

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
CATEGORIES = [dict(id=1, name='person', supercategory='person', keypoints=list(KEYPOINTS), skeleton=SKELETON)]

_LIMBS = ((5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16))
_TRUNK = (5, 6, 12, 11)
_OCCLUDED, _VISIBLE = 1, 2  # COCO's visibility v; 0 is a keypoint without a label


def draw_people(random: np.random.RandomState, size: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Draw one or two people side by side, facing the viewer, so that their left is at the right.

    Hands and feet may lie outside the image (v = 0), and a third of the people stand behind a plank. Box and area
    cover the visible part of a person. A keypoint behind a plank or the other person has v = 1.

    Args:
        random: the only source of randomness.
        size: height and width in pixels, at least 64.

    Returns:
        The image ``(size, size, 3)`` uint8 BGR, and a COCO annotation without ids per person.
    """
    image = textured_background(random, size)
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
        mask = _draw(image, points, height, random)
        plank = np.zeros_like(mask)
        if random.uniform() < 1 / 3:
            plank = _plank(points, height, size, random)
            paint(image, plank, random.randint(60, 160, 3), random)
        masks = [*(earlier & ~mask & ~plank for earlier in masks), mask & ~plank]
        poses.append(points)
        planks.append(plank)
    covers = [np.any([*planks[i:], *masks[i + 1 :]], axis=0) for i in range(count)]
    return image, [_annotation(*person) for person in zip(poses, masks, covers)]


def _annotation(points: np.ndarray, mask: np.ndarray, cover: np.ndarray) -> dict[str, Any]:
    """From keypoints ``(17, 2)``, the visible part of a person, and what stands in front, both ``(H, W)`` bool."""
    last = len(mask) - 1
    columns, rows = np.clip(np.rint(points), 0, last).astype(int).T
    visibility = np.where(cover[rows, columns], _OCCLUDED, _VISIBLE)
    visibility[((points < 0) | (points > last)).any(axis=1)] = 0
    labelled = visibility > 0
    keypoints = np.column_stack([np.where(labelled[:, None], points.round(2), 0), visibility])
    return annotation(mask, category_id=1, num_keypoints=int(labelled.sum()), keypoints=keypoints.ravel().tolist())


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


def _draw(image: np.ndarray, points: np.ndarray, height: float, random: np.random.RandomState) -> np.ndarray:
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
    clothes, skin = bright_colour(random), bright_colour(random)
    for part, colour in ((body, clothes), (head, skin), (dots, np.array([20, 20, 20]))):
        paint(image, part.astype(bool), colour, random)
    return (body | head | dots).astype(bool)


def _plank(points: np.ndarray, height: float, size: int, random: np.random.RandomState) -> np.ndarray:
    """A horizontal bar in front of a person, between elbows and shins: ``(size, size)`` bool."""
    left, right = points[:, 0].min() - 2, points[:, 0].max() + 2
    top = points[0, 1] + random.uniform(0.25, 0.75) * height
    plank = np.zeros((size, size), np.uint8)
    corners = np.rint([(left, top), (right, top + 0.08 * height)]).astype(int).tolist()
    cv2.rectangle(plank, corners[0], corners[1], ON, -1)
    return plank.astype(bool)
