"""The packages, one module for each."""
