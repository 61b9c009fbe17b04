"""A Django project as `django-admin startproject` makes it, with one model and four views."""
