"""A plugin for pytest: the fixture ``daphne_live_server``.

pytest imports this module in every project of whoever has the package, so it imports nothing of
Django before the fixture is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .testing import LiveServer

_MARKER = (
    "daphne_live_server(**options): options of the fixture of that name, those of"
    " django_daphne.testing.LiveServer: host, port, https, serve_static, application,"
    " server_options."
)


def pytest_configure(config: pytest.Config) -> None:
    """Describe the marker, and ask pytest-django for the database where it is in use."""
    config.addinivalue_line("markers", _MARKER)
    has_django = config.pluginmanager.has_plugin("django")
    config.pluginmanager.register(_ItsDatabase() if has_django else _NoDatabase())


@pytest.fixture
def daphne_live_server(
    request: pytest.FixtureRequest, _daphne_database: None
) -> Iterator[LiveServer]:
    """The project on a server in a thread, HTTP and WebSockets: ``url``, ``ws_url`` and ``ca``.

    ``@pytest.mark.daphne_live_server(https=True)`` gives it options.
    """
    from .testing import LiveServer

    marker = request.node.get_closest_marker("daphne_live_server")
    with LiveServer(**(marker.kwargs if marker else {})) as server:
        yield server


class _ItsDatabase:
    @pytest.fixture
    def _daphne_database(self, transactional_db: None) -> None:
        """Have the test database, and empty it afterwards: threads see only what is committed."""


class _NoDatabase:
    @pytest.fixture
    def _daphne_database(self) -> None:
        """Load the project; its databases are those of the settings."""
        import django
        from django.apps import apps
        from django.conf import settings

        if not (settings.configured or os.environ.get("DJANGO_SETTINGS_MODULE")):
            pytest.fail(
                "daphne_live_server needs Django's settings: expected DJANGO_SETTINGS_MODULE in the"
                " environment, or pytest-django with an option of that name.",
                pytrace=False,
            )
        if not apps.ready:
            django.setup()
