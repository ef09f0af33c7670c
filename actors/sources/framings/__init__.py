"""Framings of files and streams that are no lines: one scanner each, and what cuts chunks of records with them."""
