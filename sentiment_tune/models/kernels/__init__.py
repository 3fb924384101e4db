"""What exists only for speed on a CPU."""
