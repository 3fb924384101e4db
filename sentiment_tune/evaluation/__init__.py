"""What answers are worth: figures, pictures, the model card."""
