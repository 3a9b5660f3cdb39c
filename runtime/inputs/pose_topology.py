"""Which of MediaPipe's 478 face landmarks a pose map joins.

They stand in the order and colours in which the original draws them. The order matters
where strokes of two colours cross: later ones win.
"""

from __future__ import annotations

_Colour = tuple[int, int, int]
"""Channel values as they are written to the picture, first channel first."""

LANDMARKS = 478
STROKES: tuple[tuple[_Colour, tuple[tuple[int, int], ...]], ...] = (
    (
        (180, 200, 10),
        (  # left eye
            (374, 380),
            (390, 373),
            (249, 390),
            (385, 384),
            (373, 374),
            (263, 466),
            (387, 386),
            (381, 382),
            (384, 398),
            (466, 388),
            (386, 385),
            (388, 387),
            (263, 249),
            (380, 381),
            (398, 362),
            (382, 362),
        ),
    ),
    (
        (10, 200, 180),
        (  # right eye
            (154, 155),
            (33, 7),
            (246, 161),
            (159, 158),
            (144, 145),
            (173, 133),
            (158, 157),
            (163, 144),
            (153, 154),
            (7, 163),
            (161, 160),
            (157, 173),
            (33, 246),
            (160, 159),
            (145, 153),
            (155, 133),
        ),
    ),
    (
        (180, 220, 10),
        (  # left eyebrow
            (334, 296),
            (276, 283),
            (293, 334),
            (295, 285),
            (296, 336),
            (282, 295),
            (283, 282),
            (300, 293),
        ),
    ),
    (
        (10, 220, 180),
        (  # right eyebrow
            (46, 53),
            (66, 107),
            (52, 65),
            (53, 52),
            (63, 105),
            (70, 63),
            (65, 55),
            (105, 66),
        ),
    ),
)
"""Joined landmark pairs, grouped by colour."""

DOTS: tuple[tuple[int, _Colour], ...] = (
    (468, (10, 200, 250)),  # right pupil
    (473, (250, 200, 10)),  # left pupil
    (4, (200, 200, 200)),  # tip of the nose
)
"""Landmarks marked with a square, drawn after all strokes."""
