"""Where the views are, beside the admin that startproject puts there."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import LoginView
from django.urls import path

from . import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("hello", views.hello),
    path("page", views.page),
    path("async-hello", views.async_hello),
    path("async-books", views.async_books),
    path("books", views.books),
    path("login", LoginView.as_view(template_name="library/login.html")),
    path("events", views.events),
    path("begin", views.begin),
    path("end", views.end),
]
