"""Text of others for people: what would steer a terminal or forge a line is shown as an escape."""

import re

# Control characters but tab and newline, what turns the direction of writing, line separators.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def escaped(text: str) -> str:
    """The text on which a terminal does nothing but show it; its lines stay lines."""
    return _STEERING.sub(lambda found: ascii(found[0])[1:-1], text)
