"""One TOML file per deployment: values only."""
