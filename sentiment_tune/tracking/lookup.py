"""The model that is to score: by its address, or the default one; where that led is kept for the next time."""

import mlflow

from sentiment_tune.inference import addresses
from sentiment_tune.inference.addresses import FoundModel, Place
from sentiment_tune.tracking import logged_models, registry, server


def find_model(uri: str | None, trust_code: bool, tracking_uri: str | None, question: str) -> FoundModel:
    """The model at `uri`, or the default one; InputError where there is none.

    `question` is what `addresses.ask` made of the arguments before MLflow was loaded.
    """
    server.connect(tracking_uri, make=False, way_out="--tracking-uri or --model FOLDER")
    database = server.database_path()
    stamped = addresses.stamp(database) if database else []
    chosen = registry.default_model() if not uri else None
    model = logged_models.find(chosen.uri if chosen else str(uri))
    found = FoundModel(logged_models.load_found(model, trust_code), str(chosen or ""))
    if database and model.local and not trust_code and mlflow.get_registry_uri() == server.tracking_uri():
        place = Place(str(model.local), logged_models.digests_of_data(model, model.local), found.said)
        addresses.remember(question, place, database.absolute(), stamped)
    return found
