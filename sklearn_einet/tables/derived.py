"""Objects that keep what queries derive from them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

__all__ = ["KeepsDerived"]


class KeepsDerived:
    """A base of classes whose cached properties are neither copied nor saved."""

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes without what has been derived from them."""
        kind = type(self)
        return {
            name: value
            for name, value in vars(self).items()
            if not isinstance(getattr(kind, name, None), cached_property)
        }
