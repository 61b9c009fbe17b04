"""The environment in which every server runs: one interpreter, the newest releases pip can combine.

Built at first use beside this file. A stamp says which interpreter it was built from and what
was installed, so that later runs start at once; `fresh` builds it anew. Instead, an interpreter can
be taken as it is.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(__file__).resolve().parent / ".venv"
STAMP = VENV / "stamp.json"
PYTHON = VENV / "bin" / "python"

INSTALL_SECONDS = 900
QUERY_SECONDS = 60

IDENTITY = "import sys; print(sys.base_exec_prefix, sys.version)"
VERSIONS = """
import importlib.metadata, json, platform, sys
versions = {name: importlib.metadata.version(name) for name in sys.argv[1:]}
versions["python"] = f"{platform.python_implementation()} {platform.python_version()}"
print(json.dumps(versions))
"""


def prepare(python: str, requirements: Iterable[str], *, fresh: bool) -> Path:
    """Return the interpreter of an environment with this project and `requirements`.

    Raises subprocess.SubprocessError or OSError when `python` cannot be run or pip fails; the
    next call then installs again, because the stamp is written last.
    """
    identity = _output(python, "-c", IDENTITY)
    project = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    wanted = {f"pyproject.toml {project}", *requirements}
    installed = set() if fresh else _installed(identity)
    if wanted <= installed:
        return PYTHON
    if not installed:
        _run(python, "-m", "venv", "--clear", str(VENV))
    pip = (str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    _run(*pip, "--editable", str(ROOT), *sorted(set(requirements)))
    STAMP.write_text(json.dumps({"python": identity, "installed": sorted(wanted | installed)}))
    return PYTHON


def here(python: str) -> Path:
    """Return the interpreter of this name with its whole path, with what is installed in it.

    Links are not followed: the path of an interpreter says which environment it belongs to. Raises
    OSError when there is none.
    """
    found = shutil.which(python)
    if found is None:
        raise FileNotFoundError(f"there is no interpreter {python}")
    return Path(found).absolute()


def versions(python: Path, distributions: Iterable[str]) -> dict[str, str]:
    """Return the version of each distribution beside `python`, and its own under "python".

    Raises subprocess.SubprocessError or OSError, when one is not installed too.
    """
    answer = json.loads(_output(str(python), "-c", VERSIONS, *sorted(set(distributions))))
    return {str(name): str(version) for name, version in answer.items()}


def _installed(identity: str) -> set[str]:
    """Return what the stamp lists; nothing when it is missing or from another interpreter."""
    if not STAMP.is_file():
        return set()
    stamp = json.loads(STAMP.read_text())
    return set(stamp["installed"]) if stamp["python"] == identity else set()


def _output(*command: str) -> str:
    """Return what a short command prints."""
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, timeout=QUERY_SECONDS
    ).stdout.strip()


def _run(*command: str) -> None:
    """Run a command that may take minutes; what it prints goes to standard error."""
    subprocess.run(command, check=True, stdout=2, timeout=INSTALL_SECONDS)
