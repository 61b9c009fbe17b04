"""The forms of the pages."""

from typing import ClassVar

from django import forms

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


class UploadForm(forms.Form):
    """Take one file of any size and kind, an empty one too."""

    file = forms.FileField(allow_empty_file=True)


class DownloadForm(forms.Form):
    """Take the size of the file to download, in mebibytes."""

    mb = forms.IntegerField(label="Size in MiB", min_value=1, max_value=1024)
