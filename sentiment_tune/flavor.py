"""Where a model logged by version 0.1 finds its loader: its MLmodel names this module."""

from sentiment_tune.tracking.flavor import _load_pyfunc as _load_pyfunc
