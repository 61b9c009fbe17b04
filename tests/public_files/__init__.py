"""Static files and media before the application."""
