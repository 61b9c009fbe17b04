"""A throw-away authority, where the package has none yet: the same interface."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import trustme

MODULE = "django_daphne.management.local_authority"


class LocalAuthority:
    """An authority in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self.certificate_file = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.certificate_file))

    def issue(self, names: Iterable[str]) -> Path:
        """Return a file with a certificate for these names, and its key."""
        file = self._folder / "certificate.pem"
        certificate = self._authority.issue_cert(*names)
        certificate.private_key_and_cert_chain_pem.write_to_path(str(file))
        return file


def an_authority() -> AbstractContextManager[Any]:
    """Let this module stand in for the package's, if there is none."""
    if find_spec(MODULE) is not None:
        return nullcontext()
    return mock.patch.dict(sys.modules, {MODULE: sys.modules[__name__]})
