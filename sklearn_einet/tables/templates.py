"""Empty DataFrames as plain values, which need no trust when they are loaded."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["described", "restored"]


def described(template: Any) -> Any:
    """Return the kind, names and types of a DataFrame as strings, numbers and lists.

    A DataFrame of a derived class, or a type that no string represents, is kept as it is.
    """
    library = type(template).__module__.partition(".")[0]
    if library not in ("pandas", "polars"):
        return template
    module = import_module(library)
    if type(template) is not module.DataFrame:
        return template
    if library == "polars":
        types = [_polars_description(module, dtype) for dtype in template.dtypes]
        return {"library": library, "names": list(template.columns), "types": types}
    index = template.columns
    return {
        "library": library,
        "names": index.tolist(),
        "types": [_pandas_description(module, dtype) for dtype in template.dtypes],
        "levels": list(index.names),
        "type_of_names": None if index.nlevels > 1 else str(index.dtype),
    }


def restored(description: Any) -> Any:
    """Return the empty DataFrame that a result of `described` represents."""
    if not isinstance(description, dict):
        return description
    module = import_module(description["library"])
    names, types = description["names"], description["types"]
    if description["library"] == "polars":
        types = [_polars_type(module, each) for each in types]
        return module.DataFrame(schema=dict(zip(names, types, strict=True)))
    columns = [module.Series([], dtype=_pandas_type(module, each)) for each in types]
    frame = module.DataFrame(dict(enumerate(columns)))
    levels, dtype = description["levels"], description["type_of_names"]
    if dtype is None:
        frame.columns = module.MultiIndex.from_tuples(names, names=levels)
    else:
        frame.columns = module.Index(names, dtype=dtype, name=levels[0])
    return frame


def _pandas_description(pandas: Any, dtype: Any) -> Any:
    if isinstance(dtype, pandas.CategoricalDtype) and dtype.categories is not None:
        categories = dtype.categories
        return [categories.tolist(), str(categories.dtype), bool(dtype.ordered)]
    try:
        is_plain = pandas.api.types.pandas_dtype(str(dtype)) == dtype
    except (TypeError, ValueError):
        is_plain = False
    return str(dtype) if is_plain else dtype


def _pandas_type(pandas: Any, description: Any) -> Any:
    if not isinstance(description, list):
        return description
    values, dtype, ordered = description
    return pandas.CategoricalDtype(pandas.Index(values, dtype=dtype), ordered)


def _polars_description(polars: Any, dtype: Any) -> Any:
    if isinstance(dtype, polars.Enum):
        return dtype.categories.to_list()
    if isinstance(dtype, polars.Datetime | polars.Duration):
        zone = getattr(dtype, "time_zone", None)
        return {"type": type(dtype).__name__, "unit": dtype.time_unit, "zone": zone}
    return str(dtype) if getattr(polars, str(dtype), None) == dtype else dtype


def _polars_type(polars: Any, description: Any) -> Any:
    if isinstance(description, list):
        return polars.Enum(description)
    if isinstance(description, dict):
        zone = [] if description["zone"] is None else [description["zone"]]
        return getattr(polars, description["type"])(description["unit"], *zone)
    return getattr(polars, description) if isinstance(description, str) else description
