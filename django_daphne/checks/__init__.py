"""System checks: apps, the application, settings.DAPHNE and the environment.

One function per check, each with ids of its own that never change their meaning;
docs/reference/checks.md lists them.
"""

from collections.abc import Sequence
from typing import Final

from .application import (
    check_application_is_there,
    check_application_name,
    check_channels_application,
    check_reactor,
    check_wsgi_application,
)
from .base import Check
from .configuration import (
    check_contradictions,
    check_environment_names,
    check_environment_values,
    check_setting_names,
    check_setting_type,
    check_setting_values,
)
from .files import check_public_files
from .order import (
    check_daphne_installed,
    check_runserver_shadowed,
    check_staticfiles_order,
    check_whitenoise_middleware,
    check_whitenoise_order,
)
from .requests import (
    check_database_pools,
    check_middleware_mix,
    check_persistent_connections,
    check_strategy,
)

__all__ = [
    "CHECKS",
    "check_application_is_there",
    "check_application_name",
    "check_channels_application",
    "check_contradictions",
    "check_daphne_installed",
    "check_database_pools",
    "check_environment_names",
    "check_environment_values",
    "check_middleware_mix",
    "check_persistent_connections",
    "check_public_files",
    "check_reactor",
    "check_runserver_shadowed",
    "check_setting_names",
    "check_setting_type",
    "check_setting_values",
    "check_staticfiles_order",
    "check_strategy",
    "check_whitenoise_middleware",
    "check_whitenoise_order",
    "check_wsgi_application",
]

CHECKS: Final[Sequence[Check]] = (
    check_staticfiles_order,
    check_runserver_shadowed,
    check_daphne_installed,
    check_whitenoise_order,
    check_whitenoise_middleware,
    check_application_name,
    check_application_is_there,
    check_wsgi_application,
    check_channels_application,
    check_reactor,
    check_setting_type,
    check_setting_names,
    check_setting_values,
    check_contradictions,
    check_environment_names,
    check_environment_values,
    check_strategy,
    check_middleware_mix,
    check_persistent_connections,
    check_database_pools,
    check_public_files,
)
