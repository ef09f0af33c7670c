"""Puts a wiretap into the processes of a run: ``sitecustomize`` here, when this folder is on ``PYTHONPATH``."""
