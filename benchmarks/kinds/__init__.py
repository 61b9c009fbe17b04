"""The kinds of use that are measured: how each is checked, loaded and judged.

A kind is a class of :class:`~kinds.base.Scenario` with the class of its samples, in a module of its
own; what there is of each kind is listed in ``scenarios.py``.
"""
