"""A finished network answering: logits, raw texts, the files it is kept in."""
