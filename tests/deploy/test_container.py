"""The Dockerfile and the manifest for Kubernetes: what they say fits together, and it runs."""

from __future__ import annotations

import fnmatch
import importlib.util
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

from django.test import SimpleTestCase

from django_daphne.server import ServerConfig, resolve
from tests.deploy import adapt, read
from tests.support.processes import (
    PATIENCE,
    Process,
    ProcessTestCase,
    copy_example,
    get,
    wait_until_refused,
)

# Seconds that Kubernetes has to wait beyond all that is configured.
MARGIN = 10

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


class Image:
    """The last stage of the Dockerfile: its instructions, and what they come to."""

    def __init__(self) -> None:
        text = re.sub(r"(?m)^#.*\n", "", read("Dockerfile")).replace("\\\n", " ")
        lines = [line.split(maxsplit=1) for line in text.splitlines() if line]
        last = max(number for number, (name, _) in enumerate(lines) if name == "FROM")
        self.before = lines[:last]
        self.lines = lines[last:]
        self.variables = dict(
            pair.split("=", 1) for line in self.all("ENV") for pair in line.split()
        )
        self.command: list[str] = json.loads(self.one("CMD"))
        options, _, check = self.one("HEALTHCHECK").partition("CMD ")
        self.check: list[str] = json.loads(check)
        self.check_options = dict(re.findall(r"--([\w-]+)=(\S+)", options))

    def all(self, name: str) -> list[str]:
        """Return what stands behind each instruction of a name."""
        return [rest for each, rest in self.lines if each == name]

    def one(self, name: str) -> str:
        """Return what stands behind the only one of a name."""
        (rest,) = self.all(name)
        return rest

    def configure(self, *others: dict[str, str]) -> ServerConfig:
        """Return the server's configuration in a container with these variables besides."""
        environ = dict(self.variables)
        for each in others:
            environ |= each
        return resolve({}, environ, {}).config


def read_manifest() -> dict[str, Any]:
    """Return the objects of the manifest by their kinds."""
    import yaml

    return {each["kind"]: each for each in yaml.safe_load_all(read("kubernetes.yaml"))}


def need_yaml(case: SimpleTestCase) -> None:
    """Skip the test where the manifest cannot be read."""
    if importlib.util.find_spec("yaml") is None:
        case.skipTest("missing: PyYAML")


class DockerfileTests(SimpleTestCase):
    """The developer builds an image."""

    def setUp(self):
        super().setUp()
        self.image = Image()

    def test_order(self):
        """The image has the environment of the first stage, then the project, then its files."""
        (built,) = [rest.rpartition(" AS ") for name, rest in self.image.before if name == "FROM"]
        self.assertEqual(self.image.one("FROM"), built[0])
        self.assertEqual(self.image.all("COPY"), [f"--from={built[2]} /venv /venv", ". ."])
        names = [name for name, _ in self.image.lines]
        self.assertLess(names.index("COPY"), len(names) - names[::-1].index("RUN") - 1)
        self.assertIn("/venv/bin", self.image.variables["PATH"])

    def test_user(self):
        """Whoever breaks into the process is nobody there."""
        user = self.image.one("USER")
        self.assertGreater(int(user), 0)  # a number, which Kubernetes can see is not root's
        self.assertTrue(any(f"useradd --uid {user} " in line for line in self.image.all("RUN")))

    def test_variables(self):
        """The server takes the variables, listens for others than itself, and on one port."""
        config = self.image.configure()
        (address,) = config.listen.bind
        host, _, port = str(address).rpartition(":")
        self.assertEqual(host, "0.0.0.0")
        self.assertEqual(self.image.one("EXPOSE"), port)
        self.assertEqual(self.image.one("STOPSIGNAL"), "SIGTERM")
        self.assertIn(f"'127.0.0.1', {port})", self.image.check[-1])
        self.assertIn(f"'{config.http.health_path}'", self.image.check[-1])
        self.assertEqual(self.image.configure({"WEB_CONCURRENCY": "4"}).workers.workers, 4)

    def test_stop(self):
        """Docker waits for as long as the server does for its last requests."""
        (seconds,) = re.findall(r"--stop-timeout (\d+)", read("Dockerfile"))
        graceful = self.image.configure().timeouts.graceful_timeout
        assert graceful is not None
        self.assertGreaterEqual(int(seconds), graceful + MARGIN)

    def test_left_out(self):
        """The secrets of a developer's folder, and what is made anew, do not get into the image."""
        patterns = [line for line in read(".dockerignore").splitlines() if line and line[0] != "#"]
        kept = ("manage.py", "demo/settings.py", "pages/static/pages/style.css")
        for name in (
            "db.sqlite3",
            "a/db.sqlite3-wal",
            ".git",
            ".env",
            "b/__pycache__",
            "a/key.pem",
        ):
            with self.subTest(name):
                self.assertTrue(any(is_match(name, each) for each in patterns))
        for name in (*kept, "requirements.txt"):
            with self.subTest(name):
                self.assertFalse(any(is_match(name, each) for each in patterns))


def is_match(name: str, pattern: str) -> bool:
    """Tell whether Docker leaves a path out; "**/" is any folder, or none."""
    if pattern.startswith("**/"):
        return fnmatch.fnmatch(Path(name).name, pattern[3:])
    return "/" not in name and fnmatch.fnmatch(name, pattern)


class ManifestTests(SimpleTestCase):
    """The administrator applies the manifest."""

    def setUp(self):
        super().setUp()
        need_yaml(self)
        self.image = Image()
        self.manifest = read_manifest()
        self.pod = self.manifest["Deployment"]["spec"]["template"]["spec"]
        (self.container,) = self.pod["containers"]
        self.config = self.image.configure(variables_of(self.container))

    def test_labels(self):
        """The Service and the budget find the Pods, and the Service finds their port."""
        template = self.manifest["Deployment"]["spec"]["template"]
        labels = template["metadata"]["labels"]
        for selector in (
            self.manifest["Deployment"]["spec"]["selector"]["matchLabels"],
            self.manifest["Service"]["spec"]["selector"],
            self.manifest["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        ):
            self.assertEqual(selector, labels)
        (port,) = self.container["ports"]
        (target,) = self.manifest["Service"]["spec"]["ports"]
        self.assertEqual(target["targetPort"], port["name"])
        (address,) = self.config.listen.bind
        self.assertEqual(str(address), f"0.0.0.0:{port['containerPort']}")
        self.assertEqual(str(port["containerPort"]), self.image.one("EXPOSE"))

    def test_probes(self):
        """Each probe asks the path that the server answers itself, by the name of its port."""
        for name in PROBES:
            with self.subTest(name):
                probe = self.container[name]
                expected = {"path": self.config.http.health_path, "port": "http"}
                self.assertEqual(probe["httpGet"], expected)
                self.assertLessEqual(probe["timeoutSeconds"], probe["periodSeconds"])

    def test_end(self):
        """Kubernetes ends a Pod: its time is enough for all that follows, one after the other."""
        times = self.config.timeouts
        _, pause = self.container["lifecycle"]["preStop"]["exec"]["command"]
        graceful = times.graceful_timeout
        assert graceful is not None
        needed = int(pause) + times.shutdown_delay + graceful + MARGIN
        self.assertGreaterEqual(self.pod["terminationGracePeriodSeconds"], needed)
        readiness = self.container["readinessProbe"]
        noticed = readiness["periodSeconds"] * readiness["failureThreshold"]
        self.assertGreaterEqual(times.shutdown_delay, noticed + readiness["timeoutSeconds"])

    def test_start(self):
        """A Pod that takes long to start is given as long as a worker would be."""
        probe = self.container["startupProbe"]
        limit = self.config.workers.worker_start_timeout
        self.assertEqual(probe["periodSeconds"] * probe["failureThreshold"], limit)

    def test_security(self):
        """The cluster's admission wants the strictest of its profiles."""
        context, own = self.pod["securityContext"], self.container["securityContext"]
        self.assertIs(context["runAsNonRoot"], True)
        self.assertEqual(str(context["runAsUser"]), self.image.one("USER"))
        self.assertEqual(context["seccompProfile"], {"type": "RuntimeDefault"})
        self.assertEqual(own["capabilities"], {"drop": ["ALL"]})
        self.assertIs(own["allowPrivilegeEscalation"], False)
        self.assertIs(own["readOnlyRootFilesystem"], True)
        (mount,), (volume,) = self.container["volumeMounts"], self.pod["volumes"]
        self.assertEqual((mount["name"], mount["mountPath"]), (volume["name"], "/tmp"))


def variables_of(container: dict[str, Any]) -> dict[str, str]:
    """Return the variables that a container is given."""
    return {each["name"]: each["value"] for each in container["env"]}


class ContainerTests(ProcessTestCase):
    """What runs in the container, with a copy of the example project."""

    def setUp(self):
        super().setUp()
        need_yaml(self)
        self.image = Image()
        self.folder = copy_example(self.folder)
        (container,) = read_manifest()["Deployment"]["spec"]["template"]["spec"]["containers"]
        self.command: list[str] = container["command"]
        # Python is found as in the image: as the first one of that name in PATH.
        path = adapt(
            self.image.variables["PATH"],
            ("/venv/bin", Path(sys.executable).parent),
            ("$PATH", os.environ.get("PATH", os.defpath)),
        )
        ours = {
            "PATH": path,
            "DJANGO_DAPHNE_BIND": "127.0.0.1:0",
            "DJANGO_DAPHNE_SHUTDOWN_DELAY": str(PATIENCE),
        }
        self.variables = self.image.variables | variables_of(container) | ours

    def run_line(self, *command: str) -> Process:
        """Start what a line of the Dockerfile or the manifest says."""
        return self.start_command(command, self.variables)

    def is_healthy(self, port: int) -> bool:
        """Return what Docker's check finds out."""
        exposed = self.image.one("EXPOSE")
        *check, code = self.image.check
        status = self.run_line(*check, adapt(code, (exposed, port))).wait()
        self.assertIn(status, (0, 1))  # Docker knows no others
        return status == 0

    def test_life(self):
        """Kubernetes starts a container, asks how it is, and ends it while its balancers notice."""
        self.assertEqual(self.command, self.image.command)
        *_, collect = self.image.all("RUN")
        collecting = self.run_line("sh", "-c", collect)
        self.assertEqual(collecting.wait(), 0, collecting)
        self.assertTrue((self.folder / "collected_static/pages/style.css").exists())

        server = self.run_line(*self.command)
        port = server.wait_for_port()
        health = self.variables["DJANGO_DAPHNE_HEALTH_PATH"]
        self.assertEqual(get(port, health, Host="10.1.2.3:8000").status, 200)  # the Pod's address
        self.assertTrue(self.is_healthy(port))
        self.assertEqual(get(port).status, 200)

        server.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while get(port, health).status != 503:
            self.assertLess(time.monotonic(), deadline, server)
        self.assertFalse(self.is_healthy(port))
        self.assertEqual(get(port).status, 200)  # from those who have not noticed yet
        server.send_signal(signal.SIGTERM)  # which cuts the rest of SHUTDOWN_DELAY short
        wait_until_refused(port)
        self.assertEqual(server.wait(), 0, server)
