"""A Django project that is served with some of the packages that projects have around Django."""
