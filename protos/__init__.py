"""The wire formats of the applications: ``.proto`` files and the modules generated from them."""
