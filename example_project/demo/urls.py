"""Addresses of the example project."""

from django.contrib import admin
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("pages.urls")),
    # runserver serves static files by itself; with DEBUG on, this does it for the other commands.
    *staticfiles_urlpatterns(),
]
