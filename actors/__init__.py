"""Thresher: record pipelines on all cores of a machine. See README.md."""

__version__ = "0.1.0"
