"""What a person at a terminal sees: progress, reports, status. Reads state; only ``dlq`` changes it."""
