"""The forms of the pages."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

from pages.models import Entry


class EntryForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    """Take a new entry for the guest book."""

    class Meta:
        model = Entry
        fields = ("name", "text")
        widgets: ClassVar[dict[str, forms.Widget]] = {
            "name": forms.TextInput(attrs={"autocomplete": "name"}),
            "text": forms.Textarea(attrs={"rows": 3}),
        }


class ChatForm(forms.Form):
    """Take a message for the chat room; a user who is logged in has the name already."""

    name = forms.CharField(
        max_length=80, widget=forms.TextInput(attrs={"autocomplete": "nickname"})
    )
    text = forms.CharField(
        max_length=500,
        label="Message",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        user: AbstractBaseUser | AnonymousUser,
    ) -> None:
        super().__init__(data)
        if username := user.get_username():
            self.fields["name"].initial = username
            # So what is sent as the name does not count.
            self.fields["name"].disabled = True


class UploadForm(forms.Form):
    """Take one file of any size and kind, an empty one too."""

    file = forms.FileField(allow_empty_file=True)


class DownloadForm(forms.Form):
    """Take the size of the file to download, in mebibytes."""

    mb = forms.IntegerField(label="Size in MiB", min_value=1, max_value=1024)
