"""Addresses of the pages."""

from django.urls import path, re_path

from pages import views

urlpatterns = [
    path("", views.index, name="index"),
    path("guestbook/", views.guestbook, name="guestbook"),
    path("entries/", views.entries, name="entries"),
    path("upload/", views.upload, name="upload"),
    path("clock/", views.clock, name="clock"),
    path("clock/stream/", views.clock_stream, name="clock_stream"),
    path("chat/", views.chat, name="chat"),
    path("download/", views.download, name="download"),
    path("download/file/", views.download_file, name="download_file"),
    # And everything below it, so that a path of any shape can be shown.
    re_path("^request/", views.request_seen, name="request"),
]
