"""Thresher: record pipelines on all cores of a machine. See README.md."""

__version__ = "0.2.0"
