"""Where records go: one file per outside system, each with its options and its behaviour."""
