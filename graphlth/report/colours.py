"""Colours of a light page and their partners on a dark one."""

import re
from colorsys import hls_to_rgb, rgb_to_hls

PAPER, INK = 0x17, 0xE8  # of the dark scheme: the greys that white and black become
DARKEST, FAINTER = 0.55, 0.75  # least lightness of a colour on dark paper; factor of saturation


def for_both_schemes(style: str) -> str:
    """A style in which every colour is one of two, by the scheme of the page."""
    return re.sub(r"#[0-9a-f]{6}\b", lambda m: f"light-dark({m[0]}, {dark_colour(m[0])})", style)


def dark_colour(colour: str) -> str:
    """What `colour`, as #rrggbb, is on dark paper: greys are turned, others made lighter.

    Raises:
        ValueError: it is no such colour.
    """
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    if red == green == blue:
        grey = round(INK + (PAPER - INK) * red / 255)
        return f"#{grey:02x}{grey:02x}{grey:02x}"
    hue, lightness, saturation = rgb_to_hls(red / 255, green / 255, blue / 255)
    turned = hls_to_rgb(hue, max(lightness, DARKEST), FAINTER * saturation)
    return "#" + "".join(f"{round(255 * part):02x}" for part in turned)
