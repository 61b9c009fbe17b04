"""The guest book in the admin."""

from django.contrib import admin

from pages.models import Entry


@admin.register(Entry)
class EntryAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic in the stubs only
    """List the entries with their author and time."""

    list_display = ("name", "text", "created")
    search_fields = ("name", "text")
    date_hierarchy = "created"
