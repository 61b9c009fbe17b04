"""A view of each kind, and those of the parts."""

from __future__ import annotations

from django.urls import path

from . import views
from .stack import PARTS

urlpatterns = [
    path("sync/<tag>", views.sync_view),
    path("async/<tag>", views.async_view),
    path("meet/sync/<tag>", views.sync_meeting),
    path("meet/async/<tag>", views.async_meeting),
    path("page/sync/<tag>", views.sync_page),
    path("page/async/<tag>", views.async_page),
    path("fail/sync/<tag>", views.sync_failure),
    path("fail/async/<tag>", views.async_failure),
    path("refuse/sync/<kind>", views.sync_refusal),
    path("refuse/async/<kind>", views.async_refusal),
    path("redirect/sync/<tag>", views.sync_redirect),
    path("redirect/async/<tag>", views.async_redirect),
    path("stream/sync/<tag>", views.sync_stream),
    path("stream/async/<tag>", views.async_stream),
    path("form/<tag>", views.form),
    path("upload/<tag>", views.upload),
    path("login/<name>", views.log_in),
    *(pattern for part in PARTS.values() for pattern in part.urls()),
]
