"""A Django project with Channels, in which all WebSockets are one group."""
