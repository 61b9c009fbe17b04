"""django-csp, with a nonce for each page that asks for one."""

from __future__ import annotations

from typing import Any

from csp.constants import NONCE, SELF

from ..stack import Part


def see(request: Any) -> dict[str, Any]:
    """Return the nonce, which the response's header has to have, too."""
    return {"nonce": str(request.csp_nonce)}


PART = Part(
    apps=["csp"],
    early=["csp.middleware.CSPMiddleware"],
    settings={
        "CONTENT_SECURITY_POLICY": {
            "EXCLUDE_URL_PREFIXES": ["/redirect"],
            "DIRECTIVES": {"default-src": [SELF], "script-src": [SELF, NONCE]},
        }
    },
    see=see,
)
