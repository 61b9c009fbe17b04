"""Who may import whom: the layers of the package, read from its source."""

from __future__ import annotations

import ast
import subprocess
import sys
import unittest
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

PACKAGE = "django_daphne"
SERVER = f"{PACKAGE}.server"
ROOT = Path(__file__).resolve().parent.parent

# The server's layers, from the ground up, by module name without "django_daphne.server". A module
# may import from its own layer and from those below it. asgi and protocols lie side by side.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("types", "exceptions"),
    (
        *(
            "addresses",
            "options",
            "sources",
            "config",
            "protocol_config",
            "tls_config",
            "worker_config",
            "metrics_config",
            "consistency",
        ),
        *("resolution", "headers", "request_id", "resources"),
    ),
    ("recording", "services", "interfaces"),
    (
        *("access_formats", "access_log", "log_files", "proxy_headers"),
        *("metrics", *(f"metrics.{name}" for name in ("families", "page", "board", "threads"))),
        "metrics.recorder",
    ),
    ("asgi*", "protocols*"),
    (
        *("reactor", "readiness", "transports", "files", "systemd", "sockets"),
        *("bound_socket", "unix_sockets", "listeners", "pid_file"),
        *("accepting", "twisted_transport", "twisted_endpoints"),
        *("proxy_protocol", "endpoints", "connection", "server", "process"),
        *("tls", "tls_extension", "tls_transport", "certificates", "redirect", "health"),
        *("manual_loop", "memory", "memory_transport"),
        *("workers*", "launch"),
        *("counted_connection", "metrics.exposition"),
    ),
    ("",),
)

# Foreign packages, and the modules of the server that may import them.
FOREIGN: dict[str, tuple[str, ...]] = {
    "django": (),
    "channels": (),
    "twisted": ("reactor", "twisted_*"),
    "zope": ("twisted_*",),
    "uvloop": ("reactor",),
    "asgiref": ("types", "server", "memory"),
    "httptools": ("protocols.http11*",),
    "h2": ("protocols.http2*",),
    "hpack": ("protocols.http2*",),
    "hyperframe": ("protocols.http2*",),
    "autobahn": ("protocols.websocket*",),
    "_nvx_xormasker": ("protocols.websocket_frames",),
    "cryptography": ("tls", "tls_extension"),
    "prometheus_client": ("metrics.exposition",),
}

MAX_LINES = 400


@dataclass(frozen=True)
class Import:
    """One import: the module it stands in, the module it names, and the line."""

    importer: str
    imported: str
    line: str

    def __str__(self) -> str:
        return f"{self.line}: {self.importer} imports {self.imported}"


def source_files() -> Iterator[tuple[str, Path]]:
    """Yield name and path of each module of the package."""
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(source_files())


def targets(node: ast.Import | ast.ImportFrom, importer: str) -> Iterator[str]:
    """Yield the full names of the modules that one statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        is_package = MODULES[importer].name == "__init__.py"
        parts = importer.split(".")
        parts = parts[: len(parts) - node.level + is_package]
        base = ".".join([*parts, base] if base else parts)
    for alias in node.names:
        name = f"{base}.{alias.name}"
        yield name if name in MODULES else base


def all_imports() -> Iterator[Import]:
    """Yield every import of the package, wherever in a module it stands."""
    for importer, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for imported in targets(node, importer):
                    yield Import(importer, imported, f"{path.relative_to(ROOT)}:{node.lineno}")


IMPORTS = tuple(all_imports())


def is_server(module: str) -> bool:
    """Say whether a module belongs to the server."""
    return module == SERVER or module.startswith(f"{SERVER}.")


def short(module: str) -> str:
    """Return the name of a module of the server as the tables have it."""
    return module.removeprefix(SERVER).removeprefix(".")


def matches(module: str, patterns: tuple[str, ...]) -> bool:
    """Say whether a module of the server is meant by one of the patterns."""
    return any(fnmatch(short(module), pattern) for pattern in patterns)


def layer(module: str) -> int:
    """Return the layer of a module of the server."""
    return next(number for number, names in enumerate(LAYERS) if matches(module, names))


class ImportTests(unittest.TestCase):
    """Each module imports what lies below it, and no more."""

    def assert_no(self, wrong: list[Import]) -> None:
        """No such import is there."""
        lines = [*dict.fromkeys(map(str, wrong))]
        self.assertEqual(lines, [], "\n" + "\n".join(lines))

    def test_every_module_has_a_layer(self):
        """The author of a module gives it a place."""
        names = tuple(name for names in LAYERS for name in names)
        homeless = [each for each in MODULES if is_server(each) and not matches(each, names)]
        self.assertEqual(homeless, [])

    def test_layers(self):
        """A module of the server imports from above."""
        inside = [each for each in IMPORTS if is_server(each.importer) and is_server(each.imported)]
        self.assertGreater(len(inside), 50)
        self.assert_no([each for each in inside if layer(each.imported) > layer(each.importer)])

    def test_side_by_side(self):
        """A protocol imports the ASGI side, or the other way round."""
        pairs = (("protocols*", "asgi*"), ("asgi*", "protocols*"))
        self.assert_no(
            [
                each
                for each in IMPORTS
                for importer, imported in pairs
                if matches(each.importer, (importer,)) and matches(each.imported, (imported,))
            ]
        )

    def test_one_meeting_place(self):
        """Protocols and cycles meet in the connection and nowhere else."""
        sides: dict[str, set[str]] = {}
        for each in IMPORTS:
            for side in ("asgi.*_cycle", "protocols.http11_upgrade"):
                if matches(each.imported, (side,)):
                    sides.setdefault(each.importer, set()).add(side)
        meeting = [importer for importer, found in sides.items() if len(found) == 2]
        self.assertEqual(meeting, [f"{SERVER}.connection"])

    def test_foreign_packages(self):
        """A module of the server imports a package that is not its business."""
        self.assert_no(
            [
                each
                for each in IMPORTS
                if is_server(each.importer) and not is_server(each.imported)
                if not self.is_allowed(each)
            ]
        )

    def is_allowed(self, item: Import) -> bool:
        """Say whether a module may import something that is not the server's."""
        package = item.imported.split(".")[0]
        if package in sys.stdlib_module_names:
            return True
        return matches(item.importer, FOREIGN.get(package, ()))

    def test_django_layer(self):
        """What knows Django, and the command line, import of the server only its front door."""
        self.assert_no(
            [
                each
                for each in IMPORTS
                if not is_server(each.importer) and is_server(each.imported)
                if each.imported != SERVER
            ]
        )

    def test_command_line(self):
        """The command line imports the server and nothing of Django."""
        allowed = {*sys.stdlib_module_names, PACKAGE}
        lines = [item for item in IMPORTS if item.importer.split(".")[-1] in ("cli", "__main__")]
        self.assertTrue(lines)
        self.assert_no([item for item in lines if item.imported.split(".")[0] not in allowed])

    def test_version_module(self):
        """Importing the package itself imports nothing."""
        self.assert_no([each for each in IMPORTS if each.importer == PACKAGE])


class SizeTests(unittest.TestCase):
    """Modules are read in one sitting."""

    def test_lines(self):
        """The author of a module keeps it short."""
        sizes = {name: path.read_text("utf-8").count("\n") for name, path in MODULES.items()}
        self.assertEqual({name: size for name, size in sizes.items() if size > MAX_LINES}, {})

    def test_functions(self):
        """The author of a function keeps it shorter."""
        long = [
            f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
            for path in MODULES.values()
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if (node.end_lineno or 0) - node.lineno >= 60
        ]
        self.assertEqual(long, [])


FRONT_DOOR = """
import asyncio, sys

class NoDjango:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "django":
            raise ImportError(f"{name} is not to be imported")

sys.meta_path.insert(0, NoDjango())

def refuse(*arguments):
    raise RuntimeError("an event loop was made")

asyncio.new_event_loop = asyncio.set_event_loop = refuse

import django_daphne.server as server
assert "twisted" not in sys.modules, "importing the server costs Twisted"
for name in server.__all__:
    getattr(server, name)
try:
    server.no_such_name
except AttributeError:
    pass
else:
    raise RuntimeError("there is a name that nobody has given")
import django_daphne.cli
assert "twisted.internet.reactor" not in sys.modules, "a reactor was installed"
assert "uvloop" not in sys.modules, "uvloop was imported"
assert not any(name.split(".")[0] == "django" for name in sys.modules)
print(len(server.__all__))
"""

PLAIN_SERVER = """
import asyncio, sys

from django_daphne.cli import build_parser
from django_daphne.server import Server, ServerConfig

async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})

async def main():
    build_parser()
    server = Server(application, ServerConfig.from_values({"port": 0}))
    await server.start()
    reader, writer = await asyncio.open_connection(*server.addresses[0][:2])
    writer.write(b"GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n")
    assert (await reader.read()).endswith(b"served")
    writer.close()
    await server.stop()

asyncio.run(main())
core = "django_daphne.server."
print(*{*sys.modules} & {
    "cryptography", "difflib", "hpack", "twisted", core + "certificates", core + "metrics.recorder",
    core + "protocols.http2", core + "proxy_protocol", core + "tls", core + "twisted_endpoints",
    core + "workers.supervisor",
})
"""


class FrontDoorTests(unittest.TestCase):
    """What importing does, and what it does not."""

    def run_script(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a process in which warnings are errors."""
        command = [sys.executable, "-W", "error", "-c", script]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    def test_import(self):
        """A process without Django imports the server, every public name and the command line."""
        done = self.run_script(FRONT_DOOR)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreater(int(done.stdout), 20)

    def test_plain_server(self):
        """A process serves HTTP/1.1 on TCP, and imports nothing that only others speak or want."""
        done = self.run_script(PLAIN_SERVER)
        self.assertEqual((done.stdout, done.stderr), ("\n", ""))

    def test_public_names(self):
        """The reader of a module with __all__ finds every name in it, sorted and once."""
        for module, path in MODULES.items():
            for node in ast.parse(path.read_text("utf-8")).body:
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                    names = ast.literal_eval(node.value)
                    imported = __import__(module, fromlist=["*"])
                    missing = [name for name in names if not hasattr(imported, name)]
                    self.assertEqual((missing, len(names)), ([], len(set(names))), module)
