"""Metrics for Prometheus: what this server counts, and where it can be read.

    families    the declaration: names, labels, buckets
    page        the numbers of one process, in shared memory, so that they outlive it
    recorder    writes them, in the process that serves
    board       adds the pages up, in the process that is asked: the supervisor, or the only one
    exposition  answers Prometheus, on an address and in a thread of its own

Only ``exposition`` needs the package prometheus-client, and imports it when metrics are wanted.
"""
