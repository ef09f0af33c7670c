"""Where records come from: one file per outside system, each with its options and its behaviour."""
