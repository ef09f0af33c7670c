"""The applications that ship: each one module of pure functions and one ``PIPELINE`` value."""
