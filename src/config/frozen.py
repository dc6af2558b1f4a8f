"""Frozen values: like ``@dataclass(frozen=True)``, but the class costs much less at start-up.

A dataclass generates and compiles the source of several methods, for every class at every start: for all of our classes that
took half as long as importing asyncio. Here all classes share methods that look at the fields when they are called. Making a
value takes one or two microseconds, so objects that are made for every request are not Values.
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn, TypeVar, dataclass_transform


@dataclass_transform(frozen_default=True)
class Value:
    """Base class: the annotations of a subclass are its fields, in order; an assigned value is the default.

    Values are equal if their classes and all their fields are equal. Type checkers see frozen dataclasses (PEP 681).
    """

    __match_args__: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls.__match_args__ = tuple(cls.__annotations__)  # type: ignore[misc]  # mypy itself defines it for dataclasses

    def __init__(self, *given: Any, **named: Any) -> None:
        """Raises TypeError for fields that are missing, unknown or given twice."""
        fields = self.__match_args__
        values = dict(zip(fields, given, strict=False), **named)
        missing = [name for name in fields if name not in values and not hasattr(type(self), name)]
        if missing or len(values) < len(given) + len(named) or not values.keys() <= set(fields):
            raise TypeError(f"{type(self).__name__} has the fields {', '.join(fields)}; given were {given} and {named}")
        # Past our own __setattr__. The class holds the defaults of fields that were not given.
        vars(self).update(values)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Called after the fields are set; ``vars(self)`` has the fields that were given."""

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is a value: {name} can't be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is a value: {name} can't be deleted")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and type(other) is type(self) and other._fields() == self._fields()

    def __hash__(self) -> int:
        return hash((type(self), *self._fields().values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._fields().items())})"

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__match_args__}


V = TypeVar("V", bound=Value)


def replace(value: V, **changes: Any) -> V:
    """A copy of ``value`` with some fields changed."""
    return type(value)(**{**vars(value), **changes})
