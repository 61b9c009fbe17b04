"""Options: the machinery that turns one annotated field into a flag, a key and a variable.

A group of options is a subclass of `Group`, and every field of it is made by `option()`. Everything
else follows from the field's name, its annotation and the traits given there:

    max_body_size: int | None    the field, read as `config.limits.max_body_size`
    --max-body-size              the flag
    MAX_BODY_SIZE                the key of the settings dictionary
    DJANGO_DAPHNE_MAX_BODY_SIZE  the environment variable

Texts (flags, environment) are parsed and then checked like Python values (settings, code). The
annotations may be bool, int, float, str, `tuple[str, ...]`, a `Literal` of strings, or `| None`.
Where values come from is `sources`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import re
import sys
import typing
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, cast

from .exceptions import ConfigurationError

T = TypeVar("T")

ENVIRONMENT_PREFIX = "DJANGO_DAPHNE_"

_WORDS = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(
    ("0", "false", "no", "off"), False
)
_NUMBERS: dict[type, re.Pattern[str]] = {
    int: re.compile(r"[+-]?[0-9]+"),
    float: re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"),
}
_OCTAL = re.compile(r"(0o)?[0-7]+")
_NOUNS: dict[type, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a list of texts",
}


class Problem(NamedTuple):
    """Say what is wrong in `text`, and what to do about it in `hint`, which may be empty.

    `kind` is a wrong "value", an "unknown" name, or the wrong "type" of the settings themselves.
    """

    kind: Literal["value", "unknown", "type"]
    text: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.text} {self.hint}".rstrip()


class Option(NamedTuple):
    """Describe one option completely: what its field says, and what its author says beyond that.

    `kind` is bool, int, float, str or tuple (of str). `choices` is empty where any value will do.

    `outcome` is what happens beyond a limit or a timeout: a status or a short phrase.
    `none_values` are numbers that stand for None, and `none_means` says what None does. `rule`
    refuses a value by a false result or a ValueError; `allowed` then completes "Expected ...".
    A `negatable` option also has a `--no-` flag, which stores the empty value of its type.
    `variables` are environment variables that are read after the option's own. Texts of an `octal`
    number are read and written in base 8; a flag with `commas` may hold several values. A
    `core_only` option is a flag of the Django-free command line and nothing else. The value of a
    `secret` one is shown nowhere.
    """

    name: str
    kind: type
    optional: bool
    choices: tuple[str, ...]
    default: Any
    help: str
    unit: str = ""
    outcome: str = ""
    short: str = ""
    aliases: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    none_values: tuple[int, ...] = ()
    none_means: str = ""
    rule: Callable[[Any], object] | None = None
    allowed: str = ""
    path: bool = False
    octal: bool = False
    commas: bool = False
    negatable: bool = False
    core_only: bool = False
    secret: bool = False

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def flags(self) -> tuple[str, ...]:
        """Return every spelling of the flag, the short one first."""
        return tuple(filter(None, (self.short, self.flag, *self.aliases)))

    @property
    def off_flag(self) -> str:
        """Return the flag that stores the empty value, or "" where there is none."""
        return f"--no-{self.flag[2:]}" if self.negatable or self.kind is bool else ""

    @property
    def key(self) -> str:
        return self.name.upper()

    @property
    def environment(self) -> tuple[str, ...]:
        """Return the environment variables in the order in which they are looked at."""
        return (ENVIRONMENT_PREFIX + self.key, *self.variables)

    def check(self, value: Any, where: str, *, text: bool = False) -> Any:
        """Return the value for the field; a `text` is parsed first.

        Raise ConfigurationError with `where` the value is, the value and what is allowed.
        """
        try:
            return self._accept(self._parse(value) if text else value)
        except (ValueError, TypeError):
            raise ConfigurationError(str(self.refuse(value, where, text=text))) from None

    def takes(self, value: Any) -> bool:
        """Tell whether a Python value is allowed."""
        try:
            self._accept(value)
        except (ValueError, TypeError):
            return False
        return True

    def refuse(self, value: Any, where: str, *, text: bool = False) -> Problem:
        """Return the problem with a value that `check` does not take."""
        hint = f"Expected {self.expected('none' if text else 'None')}."
        shown = "its value" if self.secret else repr(value)
        return Problem(kind="value", text=f"{where}: {shown} is not allowed.", hint=hint)

    def format(self, value: Any) -> str:
        """Return the text that stands for this value."""
        if value is None:
            return "none"
        if self.secret:
            return "(secret)"
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, float) and value.is_integer():
            return str(int(value))
        if self.octal:
            return f"{value:o}"
        return ",".join(value) if isinstance(value, tuple) else str(value)

    def expected(self, none: str = "none") -> str:
        """Say in words which values are allowed; `none` is how None is written there."""
        words = self.allowed or self._expected_type()
        if not self.optional:
            return words
        words += ", or " + " or ".join([none, *map(str, self.none_values)])
        return f"{words} ({self.none_means})" if self.none_means else words

    def _expected_type(self) -> str:
        if self.choices:
            return "one of " + ", ".join(self.choices)
        words = "a path" if self.path else _NOUNS[self.kind]
        words += f" of {self.unit}" if self.unit else ""
        if self.minimum is not None and self.maximum is not None:
            return f"{words} from {self.minimum} to {self.maximum}"
        return words if self.minimum is None else f"{words}, at least {self.minimum}"

    def _parse(self, text: str) -> Any:
        bare = text.strip().lower()
        if self.optional and bare == "none":
            return None
        if self.kind is tuple:
            return tuple(filter(None, map(str.strip, text.split(","))))
        if self.octal and _OCTAL.fullmatch(bare):
            return int(bare, 8)
        if self.kind in _NUMBERS and not self.octal and _NUMBERS[self.kind].fullmatch(bare):
            return self.kind(bare)
        # What cannot be parsed stays a text, which is then not of the type.
        return _WORDS.get(bare, text) if self.kind is bool else text

    def _accept(self, value: Any) -> Any:
        if value is None or (type(value) in (int, float) and value in self.none_values):
            if not self.optional:
                raise ValueError
            return None
        value = self._coerce(value)
        if (
            not self._is_typed(value)
            or (self.choices and value not in self.choices)
            or (self.optional and value == "")
            or (self.path and "\0" in "".join(value))
            or (self.minimum is not None and value < self.minimum)
            or (self.maximum is not None and value > self.maximum)
            or (self.rule is not None and not self.rule(value))
        ):
            raise ValueError
        return value

    def _is_typed(self, value: Any) -> bool:
        # A bool is an int to Python, and never meant as one in a configuration.
        if not isinstance(value, self.kind) or (isinstance(value, bool) and self.kind is not bool):
            return False
        if isinstance(value, tuple):
            return all(isinstance(part, str) for part in value)
        return not isinstance(value, float) or math.isfinite(value)

    def _coerce(self, value: Any) -> Any:
        if self.path and isinstance(value, os.PathLike):
            return os.fspath(value)
        if self.kind is float and type(value) is int and abs(value) < 2**63:
            return float(value)
        if self.kind is tuple and isinstance(value, list | tuple):
            return tuple(
                os.fspath(part) if self.path and isinstance(part, os.PathLike) else part
                for part in value
            )
        return value


class _Declared(NamedTuple):
    """What stands in the place of a field's value until its group is made."""

    default: Any
    traits: dict[str, Any]


def option(default: T, *, help: str, **traits: Any) -> T:
    """Declare a field of a group; the further keywords are attributes of `Option`."""
    return cast(T, _Declared(default, {"help": help, **traits}))


@typing.dataclass_transform(frozen_default=True, kw_only_default=True)
class Group:
    """Be the base of groups: values by keyword, checked and never changed.

    A wrong value raises ConfigurationError. `title` heads the group in help texts and docs.

    Groups look like frozen dataclasses. They are none, because what a dataclass compiles for each
    of so many fields takes a tenth of the time in which a server starts.
    """

    title: ClassVar[str]
    options: ClassVar[tuple[Option, ...]]

    def __init_subclass__(cls, *, title: str) -> None:
        cls.title = title
        cls.options = tuple(
            _bind(name, value, _read_hint(cls.__annotations__[name], cls.__module__))
            for name, value in vars(cls).items()
            if isinstance(value, _Declared)
        )
        for item in cls.options:
            setattr(cls, item.name, item.default)

    def __init__(self, **values: Any) -> None:
        for item in self.options:
            value = item.default
            if item.name in values:
                where = f"{type(self).__name__}.{item.name}"
                value = item.check(values.pop(item.name), where)
            self.__dict__[item.name] = value
        if values:
            raise TypeError(f"{type(self).__name__} has no {', '.join(values)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        shown = [item.name for item in self.options if not item.secret]
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__name__}({values})"


@functools.cache
def _read_hint(annotation: str, module: str) -> Any:
    """Return the type that an annotation means in a module: few of them describe all options."""
    holder = SimpleNamespace(__annotations__={"field": annotation})
    return typing.get_type_hints(holder, vars(sys.modules[module]))["field"]


def _bind(name: str, declared: _Declared, hint: Any) -> Option:
    parts = typing.get_args(hint)
    optional = type(None) in parts
    if optional:
        (hint,) = (part for part in parts if part is not type(None))
    choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
    kind = str if choices else typing.get_origin(hint) or hint
    bound = Option(
        name=name,
        kind=kind,
        optional=optional,
        choices=choices,
        default=declared.default,
        **declared.traits,
    )
    return bound._replace(default=bound.check(declared.default, name))


# What happens at many a limit.
CLOSED = "the connection is closed"


def limit(default: Any, help: str, outcome: str, **traits: Any) -> Any:
    """Return an option for a bound, and what happens at it; None is no limit."""
    traits = {"unit": "bytes", "minimum": 1, "none_means": "no limit"} | traits
    return option(default, help=help, outcome=outcome, **traits)


def timeout(default: float | None, help: str, outcome: str, **traits: Any) -> float | None:
    """Return an option for a wait in seconds, and what happens after it; None is for ever."""
    # Where zero would only mean that nothing ever succeeds, the smallest timeout is a millisecond.
    traits = {"minimum": 0.001, "none_values": (-1,), "none_means": "never"} | traits
    return option(default, help=help, outcome=outcome, unit="seconds", **traits)
