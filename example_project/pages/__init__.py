"""The pages of the example project."""
