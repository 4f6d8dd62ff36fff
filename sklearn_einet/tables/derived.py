"""Objects that cache what queries derive from them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

__all__ = ["KeepsDerived"]


class KeepsDerived:
    """A base class whose cached properties are neither copied nor saved."""

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes without the cached properties."""
        kind = type(self)
        return {
            name: value
            for name, value in vars(self).items()
            if not isinstance(getattr(kind, name, None), cached_property)
        }
