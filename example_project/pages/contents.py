"""The table of contents: what the navigation and the index page list."""

from typing import NamedTuple

from django.http import HttpRequest


class Page(NamedTuple):
    """Describe one page: the name of its address, its title and what it shows."""

    url_name: str
    title: str
    shows: str


CONTENTS = (
    Page(
        "guestbook",
        "Guest book",
        "HTML from a template, rows through the ORM, a form with CSRF protection "
        "and a session that counts your visits.",
    ),
    Page(
        "entries",
        "JSON",
        "The guest book's entries as JSON, from an async view that awaits the database.",
    ),
    Page(
        "upload",
        "Upload",
        "A file sent as a form, read piece by piece; the answer is its size and SHA-256.",
    ),
    Page(
        "clock",
        "Clock",
        "Server-sent events: an async generator sends one a second and ends when you leave.",
    ),
    Page(
        "chat",
        "Chat",
        "A WebSocket through Channels: what one window says, every other one hears at once.",
    ),
    Page(
        "download",
        "Download",
        "A file of up to 1 GiB, made for you on the spot and removed once it is sent.",
    ),
    Page(
        "request",
        "Request",
        "Your request as the server saw it: the ASGI scope with the headers in wire order.",
    ),
)


def contents(request: HttpRequest) -> dict[str, object]:
    """Give every template the list of pages and the origin to put before their paths.

    `origin` is scheme and host without a slash, so that a command line for curl can be shown.
    """
    return {"contents": CONTENTS, "origin": f"{request.scheme}://{request.get_host()}"}
