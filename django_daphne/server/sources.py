"""Where the values of options come from: flags, the environment, the settings dictionary.

Each source is read into a `Layer`, with the origin of every value, so that a text about it can name
the place where it was written.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .exceptions import ConfigurationError
from .options import ENVIRONMENT_PREFIX, Group, Option, Problem

# Kubernetes describes every Service to every pod in variables named after the Service, and one that
# is called "django-daphne" (or "django-daphne-web") gets our prefix. They say nothing about us.
_KUBERNETES_NAME = re.compile(
    rf"{ENVIRONMENT_PREFIX}(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_KUBERNETES_VALUE = re.compile(r"(tcp|udp|sctp)://", re.IGNORECASE)


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
    import difflib  # a correct configuration needs no suggestion

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
        elif item.kind is tuple:
            given = [value] if isinstance(value, str) else value
            layer.add(item, _split(given) if item.commas else given, f"flag {item.flag}")
        else:
            layer.add(item, value, f"flag {item.flag}", text=isinstance(value, str))
    return layer


def _split(values: Any) -> Any:
    """Return the parts between commas of every text; anything but texts is left for the check."""
    if not isinstance(values, list | tuple) or not all(isinstance(text, str) for text in values):
        return values
    return [part.strip() for text in values for part in text.split(",")]


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
            empty = [] if item.kind is tuple else item.kind()  # which a later flag adds to
            common |= {"const": empty, "help": f"The opposite of {item.flag}."}
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
