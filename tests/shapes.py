"""Shapes in signatures, checked at run time while tests run, and never outside them.

Every function of virtuelens is wrapped on import by jaxtyping, which binds the names of axes over
a call (`Float[Array, " n"]` twice is the same n twice), and by beartype, which looks at the
annotations of arrays. Other annotations are mypy's business: many of them name classes that are
imported for type checking alone.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray


def arrays_only(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function checked by beartype on its array annotations, all others taken as Any."""
    if not inspect.isfunction(function):
        return function  # dataclasses: their fields are checked where they are used
    every = dict(function.__annotations__)
    kept = {name: hint for name, hint in every.items() if _names_an_array(hint)}
    if not kept:
        return function
    function.__annotations__ = kept
    try:
        checked = beartype(function)
    finally:
        function.__annotations__ = every
    return functools.wraps(function)(checked)


def _names_an_array(hint: Any) -> bool:
    """An array, or a union, tuple or list of them, with nothing else inside."""
    if inspect.isclass(hint):
        return issubclass(hint, AbstractArray)
    inner = [h for h in get_args(hint) if h is not ...]
    return bool(inner) and all(_names_an_array(h) or h is type(None) for h in inner)
