"""Lengths of time: a number of seconds, a `timedelta`, or words such as `1h30m`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Union

#: A number of seconds, a `timedelta`, or words such as `"30s"` or `"1h30m"`.
Duration = Union[int, float, str, timedelta]

_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[dhms])")


def as_json(length: Duration) -> Union[int, float, str]:
    """Return the form that the service reads."""
    return length.total_seconds() if isinstance(length, timedelta) else length


def in_seconds(length: Duration) -> float:
    """Return the number of seconds. Words that only the service can read count as none."""
    if isinstance(length, timedelta):
        return length.total_seconds()
    if isinstance(length, str):
        parts = _PART.findall(length)
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return float(length)
