"""``python -m django_daphne.testing.serve``: the process of a live server; see ``process``."""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
import sys
import threading
from contextlib import ExitStack
from typing import Any, Final

# Seconds that the server is given to stop.
_END_TIMEOUT: Final = 5.0


def main() -> None:
    """Read what to serve from standard input, serve it, and end when that input ends."""
    # Standard output belongs to the one who asked: what the project prints goes where errors go.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    # Ctrl-C ends the tests, and their end is ours.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parameters = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started us
    serve = _Serve(answers)
    threading.Thread(target=serve.end_with_input, daemon=True).start()

    import django

    django.setup()
    from django.core.exceptions import ImproperlyConfigured

    from ..server import ConfigurationError, LifespanFailure, ListenError

    try:
        serve.run(parameters)
    except (ConfigurationError, ImproperlyConfigured, LifespanFailure, ListenError) as error:
        serve.answer(error=str(error))
        sys.exit(1)


class _Serve:
    def __init__(self, answers: Any) -> None:
        self._answers = answers
        self._process: Any = None

    def answer(self, **values: Any) -> None:
        with self._answers as answers:
            answers.write(json.dumps(values) + "\n")

    def end_with_input(self) -> None:
        # Past Python's own buffer: at exit it must not be held by a thread that waits.
        while mark := os.read(0, 1024):  # to be put behind what was written before
            os.write(2, mark)
        if self._process is None:
            os._exit(1)
        watchdog = threading.Timer(_END_TIMEOUT, os._exit, (1,))
        watchdog.daemon = True
        watchdog.start()
        self._process.stop()

    def run(self, parameters: dict[str, Any]) -> None:
        from django.test.utils import (
            modify_settings,
            override_settings,
            setup_test_environment,
        )

        from ..conf import use_config
        from ..server import ServerProcess
        from ..signals import send_started, send_stopping
        from .project import make_application, make_config, serve_static_files

        _use_databases(parameters["databases"])
        setup_test_environment(debug=parameters["debug"])
        changed = _loaded(parameters["settings"])
        override_settings(
            **{name.removeprefix("settings."): value for name, value in changed.items()}
        ).enable()
        hosts = {"append": parameters["allowed_host"]}
        modify_settings(ALLOWED_HOSTS=hosts).enable()
        arguments = _loaded(parameters["arguments"])
        resolved = use_config(
            make_config(
                parameters["host"],
                parameters["port"],
                arguments["server_options"],
                certificate=parameters["certificate"],
                is_shared=False,
            )
        )
        wrapper = serve_static_files if parameters["serve_static"] else None
        with ExitStack() as stack:
            application = stack.enter_context(make_application(arguments["application"], wrapper))
            _log_errors()  # after the project, which configures logging once more
            self._process = ServerProcess(
                application,
                resolved.config.replace(graceful_timeout=0),
                announce=lambda server: self.answer(port=server.addresses[0][1]),
                handle_signals=False,
                on_started=send_started,
                on_stopping=send_stopping,
            )
            self._process.run()


def _use_databases(names: dict[str, Any]) -> None:
    """Let connections lead to the test databases, and those without a name nowhere."""
    from django.db import connections

    for alias, values in connections.settings.items():
        if alias in names:
            values["NAME"] = names[alias]
        else:
            values["ENGINE"] = "django.db.backends.dummy"


def _loaded(values: dict[str, bytes]) -> dict[str, Any]:
    from django.core.exceptions import ImproperlyConfigured

    loaded = {}
    for name, value in values.items():
        try:
            loaded[name] = pickle.loads(value)  # noqa: S301 - from the process that started us
        except Exception as error:
            raise ImproperlyConfigured(
                f"{name} cannot be read in the server's process: {type(error).__name__}: {error}"
            ) from error
    return loaded


def _log_errors() -> None:
    """Write the errors of views, which without DEBUG are for the administrators' mail only."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.ERROR)
    logging.getLogger("django.request").addHandler(handler)


if __name__ == "__main__":
    main()
