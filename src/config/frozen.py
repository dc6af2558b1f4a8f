"""Frozen values: what ``@dataclass(frozen=True)`` makes, at a fraction of the cost of making the class.

A dataclass writes the source of half a dozen methods and compiles it, for every class at every start: all of ours took half as
long as importing asyncio. Here all classes share methods that look at the fields when they are called. A value then takes a
microsecond or two to make; so what is made for every request is none.
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn, TypeVar, dataclass_transform


@dataclass_transform(frozen_default=True)
class Value:
    """Base of classes whose annotations are their fields, in order; what is assigned to one is its default.

    Values are equal if their classes and all fields are. To type checkers they are frozen dataclasses (PEP 681).
    """

    __match_args__: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls.__match_args__ = tuple(cls.__annotations__)  # type: ignore[misc]  # which mypy writes itself, for dataclasses

    def __init__(self, *given: Any, **named: Any) -> None:
        """Raises TypeError for fields that are missing, unknown or given twice."""
        fields = self.__match_args__
        values = dict(zip(fields, given, strict=False), **named)
        missing = [name for name in fields if name not in values and not hasattr(type(self), name)]
        if missing or len(values) < len(given) + len(named) or not values.keys() <= set(fields):
            raise TypeError(f"{type(self).__name__} has the fields {', '.join(fields)}; given were {given} and {named}")
        # The way past our own __setattr__. What is not given is found in the class.
        vars(self).update(values)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Called when the fields are set; those that were given are in ``vars(self)``."""

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
    """A value like ``value`` but for some fields."""
    return type(value)(**{**vars(value), **changes})
