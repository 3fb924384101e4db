"""How a network learns, epoch by epoch."""
