"""Files that users have uploaded, for tests."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlparse

from django.conf import settings
from django.core.exceptions import SuspiciousFileOperation
from django.http import Http404
from django.views.static import serve

from ..handlers.static_files import ThreadedStaticFilesHandler


def has_media() -> bool:
    """Tell whether the project has a folder for uploads and a path of its own for them."""
    url = urlparse(settings.MEDIA_URL)
    return bool(settings.MEDIA_ROOT) and not url.netloc and url.path.strip("/") != ""


class MediaFilesHandler(ThreadedStaticFilesHandler):
    """Answers requests below MEDIA_URL from MEDIA_ROOT, and passes all others on."""

    def get_base_url(self) -> str:
        """Return where the files are."""
        return str(settings.MEDIA_URL)

    def serve(self, request: Any) -> Any:
        """Return a file; raise Http404 where there is none."""
        try:
            return serve(request, self.file_path(request.path), document_root=settings.MEDIA_ROOT)
        except SuspiciousFileOperation as error:
            raise Http404(str(error)) from None
