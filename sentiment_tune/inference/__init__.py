"""A finished network answering: logits, raw texts, the files of its package."""
