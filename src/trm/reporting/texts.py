"""Numbers as people read them."""

import math

MISSING = "–"


def percent(share: float) -> str:
    """A share in per cent with one decimal: 62.3."""
    return MISSING if math.isnan(share) else f"{100 * share:.1f}"


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign: +0.4, −25.1."""
    return MISSING if math.isnan(difference) else f"{100 * difference:+.1f}".replace("-", "−")


def p_value(p: float) -> str:
    """A probability with two digits: 0.43, 0.0021, < 0.0001."""
    if math.isnan(p):
        return MISSING
    return f"{p:.2g}" if p >= 0.0001 else "< 0.0001"


def duration(seconds: float | None) -> str:
    """A time in the two units that matter: 42 s, 1 min 25 s, 3 h 05 min, 2 d 04 h."""
    if seconds is None or math.isnan(seconds):
        return MISSING
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def short(digest: str | None) -> str:
    """The first 12 characters of a hash or commit, and whether the commit had local changes."""
    if not digest:
        return MISSING
    return digest[:12] + ("-dirty" if digest.endswith("-dirty") else "")


def listing(words: list[str]) -> str:
    """One, two and three."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
