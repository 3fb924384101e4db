"""`sentiment-tune studies`."""

import click

from sentiment_tune.cli import options
from sentiment_tune.errors import InputError


@click.command(cls=options.GroupedCommand, context_settings=options.NAMES)
@options.option("--study", metavar="NAME", help="show the trials of that study instead")
@options.option("--export", metavar="FILE", help="table to write, in the form of its suffix")
@options.option("--delete", metavar="NAME", help="delete that study from the storage; its runs in MLflow stay")
@options.option("--storage", metavar="URL", help="Optuna's storage  [default: optuna.db beside MLflow's database]")
@options.tracking_uri
def studies(
    study: str | None, export: str | None, delete: str | None, storage: str | None, tracking_uri: str | None
) -> None:
    """List the studies of a storage: their state, trials, best, data and owner."""
    from pathlib import Path

    from sentiment_tune import api
    from sentiment_tune.cli import console
    from sentiment_tune.data import tables

    if delete and study:
        raise InputError(f"give either --delete {delete} or --study {study}: nothing is deleted")
    if delete:
        api.delete_study(delete, storage=storage, tracking_uri=tracking_uri)
        console.say(f"study {delete} is deleted")
    table = api.studies(study, storage=storage, tracking_uri=tracking_uri)
    console.table(table, "no study is stored here: sentiment-tune tune begins one")
    if export:
        rows = table.astype(object).where(table.notna(), "").values.tolist()
        tables.write_table(Path(export), list(table.columns), rows)
