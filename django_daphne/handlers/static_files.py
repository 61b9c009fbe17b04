"""Static files in development: sent by the server or by a lane, and never joined in memory."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlparse

from django.contrib.staticfiles.handlers import StaticFilesHandlerMixin

from .lanes import LanePool
from .threaded import ThreadedASGIHandler


class ThreadedStaticFilesHandler(StaticFilesHandlerMixin, ThreadedASGIHandler):
    """Answers requests below STATIC_URL, and passes all others on to an application."""

    application: Any

    def __init__(self, application: Any, pool: LanePool) -> None:
        """Wrap an application. No middleware is loaded: that is the application's."""
        self.application = application
        self.base_url = urlparse(self.get_base_url())
        super().__init__(pool)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer what is below STATIC_URL."""
        if scope["type"] == "http" and self._should_handle(scope["path"]):
            await ThreadedASGIHandler.__call__(self, scope, receive, send)
        else:
            await self.application(scope, receive, send)

    def load_middleware(self, is_async: bool = False) -> None:
        """Load none."""

    def get_response(self, request: Any) -> Any:
        """Return the file, or a page that says that there is none."""
        response: Any = super().get_response(request)
        response._resource_closers.append(request.close)
        return response

    def _is_changed(self) -> bool:
        return False
