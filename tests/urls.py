"""The pages that every test may ask for; a test with views of its own overrides ROOT_URLCONF."""

from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]
