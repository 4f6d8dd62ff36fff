"""Time zones by name, and their local time."""

from __future__ import annotations

import datetime
import re
from zoneinfo import ZoneInfo

import numpy as np

__all__ = ["UTC", "clock_offsets", "named_zone", "zone_name"]

UTC = "UTC"

EPOCH = datetime.datetime(1970, 1, 1)


def zone_name(zone: datetime.tzinfo | None) -> str | None:
    """Return the name by which `named_zone` finds a zone, if it does; None without a zone."""
    if zone is None:
        return None
    for attribute in ("key", "zone"):  # of zoneinfo and of pytz
        name = getattr(zone, attribute, None)
        if isinstance(name, str):
            return name
    offset = zone.utcoffset(None)
    return str(zone) if offset is None else str(datetime.timezone(offset))


def named_zone(name: str) -> datetime.tzinfo | None:
    """Return the zone with a name, such as "Europe/Bern", "UTC+01:00" or "+01:00", or None."""
    if name == UTC:
        return datetime.UTC
    fixed = re.fullmatch(r"(?:UTC)?([+-])(\d\d):(\d\d)", name)
    if fixed:
        sign, hours, minutes = fixed.groups()
        offset = datetime.timedelta(hours=int(hours), minutes=int(minutes))
        return datetime.timezone(-offset if sign == "-" else offset)
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # also without time zone data
        return None


def clock_offsets(seconds: np.ndarray, name: str, by_clock: bool) -> np.ndarray | None:
    """Return by how many seconds local time in a zone is ahead of UTC.

    Parameters
    ----------
    seconds : ndarray of int64
        Since 1970, in UTC or, if `by_clock`, in local time. Ambiguous local times are the first of
        the two; skipped ones count as if they had not been skipped.
    name : str
    by_clock : bool

    Returns
    -------
    offsets : ndarray of int64, or None
        None if the zone is unknown, or beyond the years that it covers.
    """
    zone = named_zone(name)
    if zone is None:
        return None
    different, of = np.unique(seconds, return_inverse=True)
    offsets = np.empty(len(different), np.int64)
    try:
        for i, second in enumerate(different.tolist()):
            time = EPOCH + datetime.timedelta(seconds=second)
            if by_clock:
                time = time.replace(tzinfo=zone)
            else:
                time = time.replace(tzinfo=datetime.UTC).astimezone(zone)
            offset = time.utcoffset() or datetime.timedelta()
            offsets[i] = offset // datetime.timedelta(seconds=1)
    except OverflowError:
        return None
    return offsets[of.reshape(-1)]
