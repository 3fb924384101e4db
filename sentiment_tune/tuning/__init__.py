"""Optuna: studies whose trials are runs of MLflow."""
