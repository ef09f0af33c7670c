"""Topics on this machine's disk: the format, who writes it, who reads it. Source, sink and verbs are made of this."""
