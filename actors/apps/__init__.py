"""The applications that ship: each one file of pure functions and one ``PIPELINE`` value."""
