"""WhiteNoise, with the static files of the project."""

from __future__ import annotations

from ..stack import Part

PART = Part(early=["whitenoise.middleware.WhiteNoiseMiddleware"])
