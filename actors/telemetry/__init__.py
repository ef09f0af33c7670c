"""What is known of a run that goes on: looked at from outside, at no cost to its actors."""
