"""MLflow: the server, its runs, the models they log and the registry."""

import os

from sentiment_tune.errors import InputError

try:
    import mlflow  # noqa: F401
except ValueError as error:  # of a variable that MLflow reads when it is imported, and does not always name
    said = str(error)
    given = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    named = [name for name in given if name in said] or [name for name in given if given[name].upper() in said.upper()]
    variables = ", ".join(f"{name}={given[name]!r}" for name in named) or "what MLFLOW_... variables hold"
    raise InputError(f"{variables} in the environment: {said}; mend or unset it") from None
