"""Write the reference of settings, flags and environment variables from the options themselves.

    python docs/generate.py

A test compares the page with what this writes, so it cannot fall behind.
"""

from __future__ import annotations

from pathlib import Path

from django_daphne import conf
from django_daphne.server.config import GROUPS
from django_daphne.server.options import Group, Option

PAGE = Path(__file__).resolve().parent / "reference" / "settings.md"

INTRODUCTION = """\
# Settings, flags and environment variables

Every option can be given in three ways, and the first of them that is there wins:

1. a flag of `manage.py runserver`, `manage.py rundaphne` or `django-daphne`;
2. an environment variable: `DJANGO_DAPHNE_` and the key;
3. a key of the dictionary `DAPHNE` in the project's settings (for the management commands);
4. otherwise the default.

```python
DAPHNE = {
    "BIND": ["127.0.0.1", "[::1]"],
    "PORT": 8000,
    "MAX_BODY_SIZE": 10 * 1024 * 1024,  # bytes
    "KEEP_ALIVE_TIMEOUT": 15,  # seconds
    "HTTP_TIMEOUT": None,  # never
    "ACCESS_LOG": "-",
}
```

The same as flags, and in the environment:

```console
$ python manage.py rundaphne -b 127.0.0.1 -b '[::1]' -p 8000 --max-body-size 10485760
$ DJANGO_DAPHNE_BIND='127.0.0.1,[::1]' DJANGO_DAPHNE_HTTP_TIMEOUT=none python manage.py rundaphne
```

* Sizes are in bytes, times in seconds; a time may have a fraction.
* `None` in the settings is `none` on the command line and in the environment.
* A truth value in the environment is one of `1`, `true`, `yes`, `on`, or `0`, `false`, `no`, `off`.
* A list in the environment is separated by commas; its flag is given once for each item.
* An empty variable counts as absent, unless the option can be an empty text.
* A wrong value, an unknown key and two values that rule each other out stop the start, with one
  line for each. `manage.py check` finds them, too, and warns of unknown variables.
* What Kubernetes puts into the environment for a Service named `django-daphne` is not looked at.

Three settings outside of `DAPHNE` count where nothing above says otherwise: `FORCE_SCRIPT_NAME` for
`ROOT_PATH`, and `DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE` and `DAPHNE_WEBSOCKET_MAX_FRAME_SIZE` for the
keys of the same name.
"""

HEADINGS = ("Key", "Flag", "Environment", "Value", "Default", "Meaning")


def make_page() -> str:
    """Return the whole page as Markdown."""
    return "\n".join([INTRODUCTION, *map(make_section, (*GROUPS.values(), *conf.GROUPS))])


def make_section(group: type[Group]) -> str:
    """Return the heading and the table of a group."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *map(make_row, group.options)]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([f"## {group.title}", "", *lines, ""])


def make_row(item: Option) -> tuple[str, ...]:
    """Return the cells of an option; one for the command line alone has no key and no variable."""
    flags = [*item.flags, item.off_flag] if item.off_flag else item.flags
    meaning = f"{item.help} Beyond it: {item.outcome}." if item.outcome else item.help
    return (
        "" if item.core_only else code(item.key),
        ", ".join(map(code, flags)),
        "" if item.core_only else ", ".join(map(code, item.environment)),
        item.expected("None"),
        make_default(item),
        f"{meaning} Only for `django-daphne`." if item.core_only else meaning,
    )


def make_default(item: Option) -> str:
    """Return the default as it is written in the settings, with its unit."""
    default = item.default
    if isinstance(default, float) and default.is_integer():
        default = int(default)
    if item.octal:
        return code(f"0o{default:o}")
    if isinstance(default, tuple):
        default = list(default)
    if isinstance(default, str):
        return code(f'"{default}"')
    # The meaning of None is in the column before.
    return code(repr(default)) + (f" {item.unit}" if default is not None and item.unit else "")


def code(text: str) -> str:
    """Return the text as Markdown code."""
    return f"`{text}`"


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(make_page(), encoding="utf-8")
    print(f"wrote {PAGE}")
