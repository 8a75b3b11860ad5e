"""Ten solids as point clouds, generated: synthetic data for what needs no download.

Every solid is the surface that a profile sweeps around an axis, round or with few sides: a
cylinder of four sides is a cube. Points lie evenly on the surface, and each cloud has a pose of its
own, axes of unequal length, and noise.
"""

import numpy as np

# Sides of what is round.
_ROUND = 48
# Axes are this much shorter or longer than drawn here, at most.
_STRETCH = 0.25
# Standard deviation of the noise, for solids within the unit sphere.
NOISE = 0.02


def _arc(first, last, radius, center):
    """Profile points of an arc between two angles: (distance from the axis, height)."""
    angles = np.linspace(first, last, 25)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius + center


def _prism(radius):
    return [(0, -1), (radius, -1), (radius, 1), (0, 1)]


_QUARTER = np.pi / 2
# name -> (profile from below to above, sides)
_SOLIDS = {
    "capsule": (
        [*_arc(-_QUARTER, 0, 0.5, (0, -0.5)), *_arc(0, _QUARTER, 0.5, (0, 0.5))],
        _ROUND,
    ),
    "cone": ([(0, -1), (0.9, -1), (0, 1)], _ROUND),
    "cube": (_prism(2**0.5), 4),
    "cylinder": (_prism(0.8), _ROUND),
    "octahedron": ([(0, -1), (1, 0), (0, 1)], 4),
    "prism": (_prism(0.9), 3),
    "pyramid": ([(0, -0.7), (1, -0.7), (0, 0.7)], 4),
    "sphere": (_arc(-_QUARTER, _QUARTER, 1, (0, 0)), _ROUND),
    "tetrahedron": ([(0, -1 / 3), (8**0.5 / 3, -1 / 3), (0, 1)], 3),
    "torus": (_arc(-np.pi, np.pi, 0.3, (0.7, 0)), _ROUND),
}
NAMES = tuple(_SOLIDS)


def triangles(name):
    """The surface of a solid: float64 (triangles, 3 corners, 3 coordinates), the axis along z."""
    profile, sides = _SOLIDS[name]
    radius, height = np.array(profile, np.float64).T
    angles = np.arange(sides + 1) * (2 * np.pi / sides)
    rings = np.stack(
        [
            radius[:, None] * np.cos(angles),
            radius[:, None] * np.sin(angles),
            np.repeat(height[:, None], sides + 1, axis=1),
        ],
        axis=-1,
    )
    below, above = rings[:-1], rings[1:]
    lower = np.stack([below[:, :-1], below[:, 1:], above[:, :-1]], axis=2)
    upper = np.stack([above[:, :-1], above[:, 1:], below[:, 1:]], axis=2)
    return np.concatenate([lower, upper]).reshape(-1, 3, 3)


def on_surface(corners, count, rng):
    """Points that lie evenly on triangles: float64 (count, 3).

    Args:
        corners: (triangles, 3, 3).
        count: of points.
        rng: a numpy Generator.
    """
    a, b, c = corners.swapaxes(0, 1)
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=-1)
    chosen = rng.choice(len(corners), count, p=areas / areas.sum())
    along, across = rng.random((2, count, 1))
    # The half of a parallelogram that lies outside is folded onto the triangle.
    outside = along + across > 1
    along, across = np.where(outside, 1 - along, along), np.where(outside, 1 - across, across)
    return a[chosen] + along * (b - a)[chosen] + across * (c - a)[chosen]


def cloud(name, points, rng):
    """A solid in a random pose, with noise: float32 (points, 3), within about the unit sphere."""
    corners = triangles(name) * rng.uniform(1 - _STRETCH, 1 + _STRETCH, 3)
    corners = corners - corners.reshape(-1, 3).mean(axis=0)
    corners /= np.linalg.norm(corners, axis=-1).max()
    # An orthogonal matrix evenly at random: QR of normal numbers, its signs made unique (Mezzadri,
    # "How to generate random matrices from the classical compact groups", 2007).
    pose, upper = np.linalg.qr(rng.normal(size=(3, 3)))
    pose = pose * np.sign(np.diag(upper))
    posed = on_surface(corners, points, rng) @ pose.T
    return np.float32(posed + NOISE * rng.normal(size=posed.shape))


def clouds(count, points, seed):
    """As many clouds of each solid as of any other, in turn.

    Args:
        count: of clouds.
        points: of each.
        seed: integers; the same ones give the same clouds.

    Returns:
        (float32 (count, points, 3), int64 labels: indices of `NAMES`).
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % len(NAMES)
    return np.stack([cloud(NAMES[label], points, rng) for label in labels]), labels
