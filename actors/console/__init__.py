"""What a person at a terminal sees: progress, reports, status. Reads state; changes nothing."""
