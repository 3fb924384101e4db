"""Where reviews come from, and how they become batches of word ids."""
