"""What projects have around Django goes on as before: the same as Django's own handler has it.

A project (`project`) is served twice with the same packages, and asked the same: by uvicorn with
Django's own handler, and by django_daphne. The answers and what the packages have recorded must be
equal, but for what is random or a matter of time.
"""
