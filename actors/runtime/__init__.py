"""The core: links, acknowledgement, order, supervision. Knows no role's work and no application."""
