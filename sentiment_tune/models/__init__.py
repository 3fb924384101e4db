"""The networks, their registry and what they share."""
