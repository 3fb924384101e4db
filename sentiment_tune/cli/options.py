"""What the commands' options share: names as `mlflow run -P` writes them, the settings of a network as options."""

import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sentiment_tune.errors import without_exit

if TYPE_CHECKING:
    from sentiment_tune.space import Setting

F = TypeVar("F", bound=Callable[..., Any])
NAMES = {"token_normalize_func": lambda name: name.replace("_", "-")}  # `mlflow run -P` writes --learning_rate
HELP = ("-h", "--help")
DEFAULT_MODEL = "rnn"
NOTED = "options.json"  # what help pages say of the settings, written by scripts/reference.py


class Option(click.Option):
    """An option that stands under a heading of the help."""

    def __init__(self, *args: Any, group: str = "run", **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.group = group


class OptionThatMayBeEmpty(Option):
    """An option that is not given where its value is empty."""

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, click.core.ParameterSource]:
        """The value that was given, if it says anything: a variable of a script or a project may hold none."""
        return super().consume_value(ctx, {name: value for name, value in opts.items() if value != ""})


class GroupedCommand(click.Command):
    """A command whose help lists its options under headings, in the order of GROUPS."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the arguments; a network of the user's own, which tells its settings, cannot end the program."""
        with without_exit():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, with the same care; what click itself ends the program for is around it."""
        with without_exit():
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group of options that the command has."""
        for group, title in GROUPS.items():
            options = [option for option in self.get_params(ctx) if getattr(option, "group", "run") == group]
            rows = [record for option in options if (record := option.get_help_record(ctx))]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


GROUPS = {"data": "Data", "network": "Network", "training": "Training", "search": "Search", "run": "Run"}


class CommandWithSettings(GroupedCommand):
    """A command that has an option for each setting of the networks that its `--model` names, and of their training."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own options and those of the settings."""
        return [*super().get_params(ctx), *ctx.meta.get("settings", ())]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, once it is known which network's settings may be among them."""
        models = _model_in(args)
        options = _noted_options(models) if any(word in HELP for word in args) else None
        ctx.meta["settings"] = setting_options(models) if options is None else options
        return super().parse_args(ctx, args)


def setting_options(models: str) -> list[Option]:
    """An option for each setting of these networks, as of `parse_names`; each network takes those that it has."""
    from sentiment_tune.config import setting_groups
    from sentiment_tune.models.registry import parse_names

    options = {
        name: setting_option(setting, group)
        for model in reversed(parse_names(models))
        for group, settings in setting_groups(model).items()
        for name, setting in settings.items()
    }
    return list(options.values())


def _noted_options(model: str) -> list[Option] | None:
    """The same for a help page, as noted in a file, so that no torch is loaded; None for what does not stand there."""
    noted = json.loads(files("sentiment_tune.cli").joinpath(NOTED).read_bytes())
    numbers = noted["networks"].get(model)
    return None if numbers is None else [Option(**noted["options"][number]) for number in numbers]


def _model_in(args: list[str]) -> str:
    """The network that the arguments choose, seen before they are parsed, since their options depend on it."""

    @click.command(context_settings={**NAMES, "ignore_unknown_options": True, "allow_extra_args": True})
    @click.option("--model")
    @click.option("--settings")
    @click.option("--resume")
    @click.option("--tracking-uri")
    def peek(model: str | None, settings: str | None, resume: str | None, tracking_uri: str | None) -> str:
        if resume and not model:
            return _model_of(resume, tracking_uri)
        return str(chosen_settings(model, settings, {})["model"])

    model: str = peek([word for word in args if word not in HELP], standalone_mode=False)
    return model


def _model_of(run: str, tracking_uri: str | None) -> str:
    """The network of a run that is to be resumed."""
    from sentiment_tune.resumption import interrupted_training
    from sentiment_tune.tracking import server

    server.connect(tracking_uri, make=False)
    return str(interrupted_training(run).settings["model"])


def chosen_settings(model: str | None, source: str | None, given: Mapping[str, str | None]) -> dict[str, Any]:
    """All that was chosen, by name: what a file or recipe of settings says, and over it what was given as options."""
    chosen = {}
    if source:
        from sentiment_tune.config import read_settings  # loads torch

        chosen = read_settings(source)
    chosen |= {name: value for name, value in given.items() if value is not None}
    return {**chosen, "model": model or chosen.get("model") or DEFAULT_MODEL}


def setting_option(setting: "Setting", group: str) -> Option:
    """The option of a setting: what it does, its bounds and its default."""
    return Option(**described(setting, group))


def described(setting: "Setting", group: str) -> dict[str, Any]:
    """What is said of that option."""
    return {
        "param_decls": [f"--{setting.name.replace('_', '-')}"],
        "group": group,
        "metavar": setting.type.__name__.upper(),
        "help": f"{setting.doc + ': ' if setting.doc else ''}{setting.bounds}  [default: {setting.default}]",
    }


def option(*names: str, group: str = "run", **kwargs: Any) -> Callable[[F], F]:
    """An option under a heading of the help."""
    return click.option(*names, cls=OptionThatMayBeEmpty, group=group, **kwargs)


def switch(name: str, text: str, group: str = "run") -> Callable[[F], F]:
    """A flag that also takes true or false, as `mlflow run -P` must give it."""
    return option(name, group=group, is_flag=False, flag_value="true", default="false", type=bool, help=text)


def model_option(text: str) -> Callable[[F], F]:
    """The option that names the network."""
    return option("--model", group="network", metavar="NAME", help=f"{text}  [default: {DEFAULT_MODEL}]")


def settings_option(text: str) -> Callable[[F], F]:
    """The option that names a file or a recipe of settings."""
    return option("--settings", group="network", metavar="FILE|RECIPE", help=f"{text}; options go before it")


unpack_limit = option(
    "--unpack-limit",
    group="data",
    metavar="SIZE",
    help="that a packed file may unpack to, such as 500MB or 2GiB  [default: 64MiB, or 20 times its own size]",
)


READING = ("encoding", "delimiter", "columns", "sheet", "unpack_limit")


def reading_options(command: F) -> F:
    """Options that say how a file was saved."""
    for decorate in (
        unpack_limit,
        option("--sheet", group="data", metavar="NAME", help="sheet of a spreadsheet  [default: the only one]"),
        option("--columns", group="data", metavar="NAMES", help="of a file whose first line does not name them: a,b,c"),
        option("--delimiter", group="data", metavar="CHARACTER", help="of a .csv: comma, semicolon, tab, pipe, or any"),
        option("--encoding", group="data", metavar="NAME", help="of a text file, such as cp1251  [default: found out]"),
    ):
        command = decorate(command)
    return command


def data_options(command: F) -> F:
    """Options that say where the reviews come from."""
    for decorate in (
        reading_options,
        option(
            "--deduplicate",
            group="data",
            is_flag=False,
            flag_value="true",
            type=bool,
            help="leave out of train and validation what the test has too",
        ),
        option(
            "--text-rule",
            group="data",
            metavar="NAME",
            help="how words are found in texts: unicode, punctuation (its marks are words too), keras  "
            "[default: unicode; of ids always keras]",
        ),
        option(
            "--validation",
            group="data",
            metavar="auto|random|films",
            help="what the validation part is drawn by; films, of IMDB: none is in train as well  "
            "[default: films where the data tell them]",
        ),
        option("--test", group="data", metavar="FILE", help="file of the test reviews"),
        option(
            "--group", group="data", metavar="COLUMN", help="column of what stays in one part: film, product, author"
        ),
        option("--split", group="data", metavar="COLUMN", help="column that says train or test  [default: split]"),
        option(
            "--label",
            group="data",
            metavar="COLUMN",
            help="column of the labels  [default: label, or the usual]",
        ),
        option(
            "--labels",
            group="data",
            metavar="RULES",
            help="labels that are read as classes, others are left out: '1,2=negative 4,5=positive', which is also "
            "called stars  [default: each label is a class]",
        ),
        option("--text", group="data", metavar="COLUMN", help="column of the texts  [default: text, or the usual]"),
        option(
            "--data",
            group="data",
            help="auto, imdb, sample, a file (.npz, .csv, .tsv, .json, .jsonl, .txt, .parquet, .xlsx, .zip), a pattern "
            "of files' names, or a folder  [default: auto]",
        ),
    ):
        command = decorate(command)
    return command


trust_code = switch("--trust-code", "run code logged with the model: a network of somebody's own")
tracking_uri = option("--tracking-uri", help="MLflow server or database  [default: MLflow's own]")
experiment = option("--experiment", help="MLflow experiment  [default: sentiment]")
