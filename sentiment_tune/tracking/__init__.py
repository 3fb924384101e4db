"""MLflow: the server, its runs, the models they log and the registry."""
