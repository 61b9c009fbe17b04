"""Options: the machinery that turns one annotated field into a flag, a key and a variable.

A group of options is a subclass of `Group`, and every field of it is made by `option()`. Everything
else follows from the field's name, its annotation and the traits given there:

    max_body_size: int | None    the field, read as `config.limits.max_body_size`
    --max-body-size              the flag
    MAX_BODY_SIZE                the key of the settings dictionary
    DJANGO_DAPHNE_MAX_BODY_SIZE  the environment variable

Texts (flags, environment) are parsed and then checked like Python values (settings, code). The
annotations may be bool, int, float, str, `tuple[str, ...]`, a `Literal` of strings, or `| None`.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import os
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar

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
_NOUNS: dict[type, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a list of texts",
}

# Kubernetes describes every Service to every pod in variables named after the Service, and one that
# is called "django-daphne" (or "django-daphne-web") gets our prefix. They say nothing about us.
_KUBERNETES_NAME = re.compile(
    rf"{ENVIRONMENT_PREFIX}(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_KUBERNETES_VALUE = re.compile(r"(tcp|udp|sctp)://", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """Say what is wrong in `text`, and what to do about it in `hint`, which may be empty.

    `kind` is a wrong "value", an "unknown" name, or the wrong "type" of the settings themselves.
    """

    kind: Literal["value", "unknown", "type"]
    text: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.text} {self.hint}".rstrip()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traits:
    """Hold what the author of an option says about it beyond its name, type and default.

    `outcome` is what happens beyond a limit or a timeout: a status or a short phrase.
    `none_values` are numbers that stand for None, and `none_means` says what None does. `rule`
    refuses a value by a false result or a ValueError; `allowed` then completes "Expected ...".
    A `negatable` option also has a `--no-` flag, which stores the empty value of its type.
    `variables` are environment variables that are read after the option's own. A `core_only`
    option is a flag of the Django-free command line and nothing else.
    """

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
    negatable: bool = False
    core_only: bool = False


def option(default: T, *, help: str, **traits: Any) -> T:
    """Declare a field of a group; the further keywords are the attributes of `Traits`."""
    return dataclasses.field(default=default, metadata={"traits": Traits(help=help, **traits)})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Option(Traits):
    """Describe one option completely: its traits, and what its field says.

    `kind` is bool, int, float, str or tuple (of str). `choices` is empty where any value will do.
    """

    name: str
    kind: type
    optional: bool
    choices: tuple[str, ...]
    default: Any

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
        return Problem(kind="value", text=f"{where}: {value!r} is not allowed.", hint=hint)

    def format(self, value: Any) -> str:
        """Return the text that stands for this value."""
        if value is None:
            return "none"
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, float) and value.is_integer():
            return str(int(value))
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
        if self.kind in _NUMBERS and _NUMBERS[self.kind].fullmatch(bare):
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
            or (self.path and "\0" in value)
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
        if self.kind is tuple and isinstance(value, list):
            return tuple(value)
        return value


@typing.dataclass_transform(frozen_default=True, kw_only_default=True)
class Group:
    """Be the base of groups: make a subclass a frozen dataclass that checks its values.

    A wrong value raises ConfigurationError. `title` heads the group in help texts and docs.
    """

    title: ClassVar[str]
    options: ClassVar[tuple[Option, ...]]

    def __init_subclass__(cls, *, title: str) -> None:
        made: Any = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        hints = typing.get_type_hints(cls)
        cls.title = title
        cls.options = tuple(_bind(field, hints[field.name]) for field in dataclasses.fields(made))

    def __post_init__(self) -> None:
        for item in self.options:
            value = item.check(getattr(self, item.name), f"{type(self).__name__}.{item.name}")
            object.__setattr__(self, item.name, value)


def _bind(field: dataclasses.Field[Any], hint: Any) -> Option:
    parts = typing.get_args(hint)
    optional = type(None) in parts
    if optional:
        (hint,) = (part for part in parts if part is not type(None))
    choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
    kind = str if choices else typing.get_origin(hint) or hint
    bound = Option(
        **vars(field.metadata["traits"]),
        name=field.name,
        kind=kind,
        optional=optional,
        choices=choices,
        default=field.default,
    )
    return dataclasses.replace(bound, default=bound.check(field.default, field.name))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    """Hold what one source says: checked values, with their origins, and problems."""

    values: dict[str, tuple[Any, str]] = dataclasses.field(default_factory=dict)
    problems: list[Problem] = dataclasses.field(default_factory=list)
    warnings: list[Problem] = dataclasses.field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """Return the values without their origins."""
        return {name: value for name, (value, _) in self.values.items()}

    def add(self, item: Option, value: Any, where: str, *, text: bool = False) -> None:
        """Check a value (or parse a text) and keep it, or the problem with it."""
        try:
            self.values[item.name] = (item.check(value, where, text=text), where)
        except ConfigurationError:
            self.problems.append(item.refuse(value, where, text=text))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the sentence that suggests the known name most like this one, or ""."""
    return "".join(f"Did you mean {m}?" for m in difflib.get_close_matches(name, list(known), n=1))


def read_values(options: Sequence[Option], values: Mapping[str, Any], flags: bool = False) -> Layer:
    """Read Python values by field name; as `flags`, from argparse, a str is text to parse."""
    layer = Layer()
    by_name = {item.name: item for item in options}
    for name, value in values.items():
        if (item := by_name.get(name)) is None:
            text, hint = f"no option {name!r}.", nearest(name, by_name)
            layer.problems.append(Problem(kind="unknown", text=text, hint=hint))
        elif not flags:
            layer.add(item, value, name)
        elif item.kind is tuple and isinstance(value, str):
            layer.add(item, (value,), f"flag {item.flag}")
        else:
            layer.add(item, value, f"flag {item.flag}", text=isinstance(value, str))
    return layer


def read_environment(options: Sequence[Option], environ: Mapping[str, str]) -> Layer:
    """Read the variables of the options, and warn of unknown ones with our prefix.

    An empty variable counts as absent, except where an empty text is a value of its own.
    """
    layer = Layer()
    given = {name: text for name, text in environ.items() if not _from_kubernetes(name, text)}
    readable = [item for item in options if not item.core_only]
    for item in readable:
        found = [name for name in item.environment if name in given]
        if name := next((name for name in found if given[name] or item.takes("")), ""):
            layer.add(item, given[name], f"environment {name}", text=True)
    known = [name for item in readable for name in item.environment]
    for name in sorted(given.keys() - set(known)):
        if name.startswith(ENVIRONMENT_PREFIX):
            text = f"environment {name} is not a known variable and has no effect."
            layer.warnings.append(Problem(kind="unknown", text=text, hint=nearest(name, known)))
    return layer


def _from_kubernetes(variable: str, text: str) -> bool:
    is_port = variable.endswith("PORT") and _KUBERNETES_VALUE.match(text)
    return bool(is_port or _KUBERNETES_NAME.fullmatch(variable))


def read_settings(options: Sequence[Option], settings: object) -> Layer:
    """Read settings.DAPHNE: keys in upper case, Python values."""
    layer = Layer()
    if not isinstance(settings, Mapping):
        text = f"settings.DAPHNE is a {type(settings).__name__}, not a dictionary."
        layer.problems.append(Problem(kind="type", text=text))
        return layer
    by_key = {item.key: item for item in options if not item.core_only}
    for key, value in settings.items():
        where = f"settings.DAPHNE[{key!r}]"
        if key in by_key:
            layer.add(by_key[key], value, where)
        else:
            text, hint = f"{where} is not a known key.", nearest(str(key).upper(), by_key)
            layer.problems.append(Problem(kind="unknown", text=text, hint=hint))
    return layer


def add_group_arguments(parser: argparse.ArgumentParser, group: type[Group], *, core: bool) -> None:
    """Add the flags of a group; `core` adds those that only the Django-free command line has.

    Only flags that were given appear in the namespace, ready for `read_values`.
    """
    section = parser.add_argument_group(group.title)
    for item in (item for item in group.options if core or not item.core_only):
        # Without a default, what is not given does not hide what other sources say.
        common: dict[str, Any] = {"dest": item.name, "default": argparse.SUPPRESS}
        shown: dict[str, Any] = common | {"help": help_text(item).replace("%", "%%")}
        metavar = item.unit.upper() or ("PATH" if item.path else "VALUE")
        if item.kind is bool:
            section.add_argument(*item.flags, action="store_true", **shown)
        elif item.kind is tuple:
            section.add_argument(*item.flags, action="append", metavar=metavar, **shown)
        else:
            metavar = f"{{{','.join(item.choices)}}}" if item.choices else metavar
            section.add_argument(*item.flags, metavar=metavar, **shown)
        if item.off_flag:
            common |= {"const": item.kind(), "help": f"The opposite of {item.flag}."}
            section.add_argument(item.off_flag, action="store_const", **common)


def help_text(item: Option) -> str:
    """Return the help of an option with its outcome, unit and default."""
    words = [item.help]
    if item.outcome:
        words.append(f"Beyond it: {item.outcome}.")
    if item.kind is tuple:
        words.append("May be given more than once.")
    default = item.format(item.default)
    if item.default is None and item.none_means:
        default = f"none, {item.none_means}"
    elif item.default not in (None, "", ()) and item.unit:
        default += f" {item.unit}"
    return " ".join(words) + (f" (default: {default})" if default else "")
