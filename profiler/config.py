"""Configuration of a run: each keyword of :class:`profiler.EnergyProfiler` with its check, flag and help text.

To add a keyword, add one field to :class:`ProfilerConfig`: the signature and documentation of ``EnergyProfiler`` and
the flags of ``energy-profiler run`` are made from the fields.
"""

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, get_args

from profiler import budget, emissions, lr_plan
from profiler.budget import Budget
from profiler.emissions import Prices
from profiler.errors import UsageError
from profiler.lr_plan import Planned, RatePlan
from profiler.records import CountRule
from profiler.storage.schema import CONFIG
from profiler.work import checked_work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from profiler.sensors.base import Sensor

SHORTEST_PERIOD, LONGEST_PERIOD = 0.001, 60.0
_METADATA = "keyword"
_EXTERNAL = "external:"
_MOST_SETTINGS = 1000
_LONGEST_SETTING = 10_000
Plain = str | int | float | bool | None
_GRID = {"country", "grid_gco2e_per_kwh"}
_SWITCH = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}
_INDENT, _WIDTH = " " * 8, 120


class Keyword(NamedTuple):
    """Description of a keyword.

    Attributes:
        name: Name in Python.
        help: Sentence for the documentation and for the help text of the flag.
        details: Further sentences for the documentation.
        unit: Unit of the value; empty for text and switches.
        type: Converter of a flag's value, ``bool`` for a switch, ``dict`` for a flag that may be repeated; None for
            values that only Python can express.
        metavar: Placeholder of the flag's value in help texts.
    """

    name: str
    help: str
    details: str
    unit: str
    type: "type[str | int | float | bool | dict[str, str]] | None"
    metavar: str

    @property
    def flag(self) -> str:
        """Flag of ``energy-profiler run``."""
        return "--" + self.name.replace("_", "-")

    @property
    def environment_variable(self) -> str:
        """Environment variable that holds its default; empty for values that only Python can express."""
        return "" if self.type is None else f"ENERGY_PROFILER_{self.name.upper()}"


def _keyword(
    help: str,  # noqa: A002 - the name in argparse
    details: str = "",
    *,
    unit: str = "",
    type: "type[str | int | float | bool | dict[str, str]] | None" = None,  # noqa: A002 - likewise
    metavar: str = "",
) -> dict[str, Any]:
    return {_METADATA: (help, details, unit, type, metavar)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilerConfig:
    """Checked keywords of a profiler, with the objects made of them.

    Attributes:
        prices: Carbon intensity, price and PUE.
        plan: Planned learning rate; None if none was given.
        budget: Target loss and energy budget.

    Raises:
        UsageError: A value is out of range or contradicts another one.
    """

    name: str | None = field(
        default=None, metadata=_keyword("Name of the run in reports.", type=str, metavar="NAME")
    )
    run_dir: "str | os.PathLike[str] | None" = field(
        default=None,
        metadata=_keyword(
            "Directory to write to; by default a new one below energy_runs.",
            "A numbered directory beside it is used if it holds a run, or a file with the name of a run's file.",
            type=str,
            metavar="DIR",
        ),
    )
    sample_period_seconds: float | None = field(
        default=None,
        metadata=_keyword(
            "Time between samples; by default adapted to the sensors.",
            unit="seconds",
            type=float,
            metavar="SECONDS",
        ),
    )
    sensors: "Sequence[Sensor | str] | None" = field(
        default=None,
        metadata=_keyword(
            "Sensors to read instead of those found on the machine.",
            "The profiler does not close them. ``'external:PATH'`` names the file or pipe of an external meter; if only"
            " such names are given, the sensors of the machine are read too.",
        ),
    )
    count: CountRule = field(
        default="parts",
        metadata=_keyword(
            "What makes up the total: parts (processors, memory, accelerators; the default), or node, the meter of the "
            "whole node, if there is one.",
            type=str,
            metavar="parts|node",
        ),
    )
    grid_gco2e_per_kwh: float | None = field(
        default=None,
        metadata=_keyword(
            "Carbon intensity of the electricity, in grams of CO2 equivalent per kWh.",
            unit="gCO2e/kWh",
            type=float,
            metavar="GRAMS",
        ),
    )
    country: str | None = field(
        default=None,
        metadata=_keyword(
            "Country whose carbon intensity is used, from codecarbon's offline table: a three-letter code or a name.",
            type=str,
            metavar="COUNTRY",
        ),
    )
    price_per_kwh: float | None = field(
        default=None,
        metadata=_keyword("Price per kWh, in your currency.", unit="1/kWh", type=float, metavar="PRICE"),
    )
    currency: str | None = field(
        default=None,
        metadata=_keyword("Currency of that price, such as EUR.", type=str, metavar="CODE"),
    )
    pue: float = field(
        default=1.0,
        metadata=_keyword(
            "Power usage effectiveness of the building; 1 by default.",
            "It scales kWh, gCO2e and cost, never joules.",
            type=float,
            metavar="PUE",
        ),
    )
    total_steps: int | None = field(
        default=None,
        metadata=_keyword(
            "Optimizer steps of the whole run, so that forecasts know its end.",
            unit="steps",
            type=int,
            metavar="STEPS",
        ),
    )
    planned_learning_rate: Planned | None = field(
        default=None,
        metadata=_keyword(
            "Learning rate over the whole run: a number, one rate per step, a function of the steps already done, or "
            "words, such as 'cosine to 0.1 at 100_000 steps' or 'wsd 80 %'; rates in words are relative to the peak.",
            "By default the plan of a torch scheduler is simulated.",
            type=str,
            metavar="PLAN",
        ),
    )
    live: bool = field(
        default=False, metadata=_keyword("Write a status line to stderr every ten seconds.", type=bool)
    )
    energy_budget: float | str | None = field(
        default=None,
        metadata=_keyword(
            "Energy that the run may use: joules, or text with a unit, such as '5 MJ' or '2 kWh'.",
            "When it is used, or when ``target_loss`` will not be reached within it, one warning is logged and"
            " :attr:`should_stop` becomes true. The profiler never stops the training itself.",
            type=str,
            metavar="ENERGY",
        ),
    )
    target_loss: float | None = field(
        default=None,
        metadata=_keyword("Target loss of the forecasts during the training.", type=float, metavar="LOSS"),
    )
    on_budget: "Callable[[str], object] | Literal['warn']" = field(
        default="warn",
        metadata=_keyword(
            "``'warn'``, or a function that receives the warning about the budget.",
            "It is called on the training thread at the end of the next step. Exceptions that it raises are logged and"
            " suppressed, except ``SystemExit`` and other ``BaseException`` s, which end the training.",
        ),
    )
    log_to: Any = field(
        default=None,
        metadata=_keyword(
            "Experiment tracker that receives :meth:`metrics`, or a list of them: any object with ``log_metrics``,"
            " ``log`` or ``add_scalar``, or a function of a dictionary and a step.",
            "It is called on the training thread of the main rank, between two steps, at most every ten seconds and"
            " once at the end. An object that raises, or takes over ten seconds, is dropped with a warning.",
        ),
    )
    time_data_loading: bool = field(
        default=True,
        metadata=_keyword(
            "Time torch's data loaders and detect evaluation passes; on by default.",
            "False leaves the iterators of data loaders unchanged.",
            type=bool,
        ),
    )
    resume: "str | os.PathLike[str] | None" = field(
        default=None,
        metadata=_keyword(
            "Directory of an earlier run that this one continues from its end.",
            "To continue from a checkpoint, save :meth:`state_dict` with it, which is exact to the step.",
            type=str,
            metavar="DIR",
        ),
    )
    config: "Mapping[str, Plain] | None" = field(
        default=None,
        metadata=_keyword(
            "Settings of the training to store in run.json, such as its batch size.",
            "A flat mapping; values are text, finite numbers, booleans or None.",
            type=dict,
            metavar="KEY=VALUE",
        ),
    )
    work_per_step: "Mapping[str, float] | None" = field(
        default=None,
        metadata=_keyword(
            "Work of one optimizer step of the whole job, by unit, for example 524,288 ``tokens``.",
            "Reports then show joules per unit. Where it varies, pass it to :meth:`step` instead.",
            type=dict,
            metavar="UNIT=AMOUNT",
        ),
    )
    job: bool = field(
        default=False,
        metadata=_keyword(
            "Store the identifiers of the Slurm, PBS, LSF or Kubernetes job in run.json; off by default.",
            type=bool,
        ),
    )
    prices: Prices = field(init=False, repr=False, compare=False)
    plan: RatePlan | None = field(init=False, repr=False, compare=False)
    budget: Budget = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check_types()
        self._check_values()
        object.__setattr__(self, "config", _plain_settings(self.config or {}))
        if self.work_per_step is not None:
            object.__setattr__(self, "work_per_step", checked_work(self.work_per_step))
        prices = emissions.make_prices(
            pue=self.pue,
            grid_gco2e_per_kwh=self.grid_gco2e_per_kwh,
            country=self.country,
            price_per_kwh=self.price_per_kwh,
            currency=self.currency,
        )
        # Parsed here once: a plan may be a function of the user's, and a country is looked up in a large table.
        object.__setattr__(self, "prices", prices)
        object.__setattr__(self, "plan", lr_plan.declared(self.planned_learning_rate, self.total_steps))
        given = self.energy_budget
        joules = budget.parse_budget(given) if isinstance(given, str) else given
        object.__setattr__(self, "budget", Budget(target_loss=self.target_loss, energy_joules=joules))

    def _check_types(self) -> None:
        switches = {one.name: getattr(self, one.name) for one in keywords() if one.type is bool}
        for name, value in switches.items():
            if not isinstance(value, bool):
                raise UsageError(f"{name} must be True or False, not {value!r}.")
        for name, path in (("run_dir", self.run_dir), ("resume", self.resume)):
            if path is not None and not isinstance(path, (str, os.PathLike)):
                raise UsageError(f"{name} must be a path, not {path!r}.")
        if self.sensors is not None and not isinstance(self.sensors, Iterable):
            raise UsageError(f"sensors must be a list of sensors, not {self.sensors!r}.")

    def _check_values(self) -> None:
        period = self.sample_period_seconds
        is_period = isinstance(period, (int, float)) and SHORTEST_PERIOD <= period <= LONGEST_PERIOD
        if period is not None and not is_period:
            raise UsageError(
                f"sample_period_seconds must be between {SHORTEST_PERIOD:g} and {LONGEST_PERIOD:g}, not {period!r}."
            )
        if self.name is not None and not isinstance(self.name, str):
            raise UsageError(f"name must be text, not {self.name!r}.")
        if self.on_budget != "warn" and not callable(self.on_budget):
            raise UsageError(f"on_budget must be 'warn' or a function, not {self.on_budget!r}.")
        if self.count not in get_args(CountRule):
            raise UsageError(f"count must be 'parts' or 'node', not {self.count!r}.")
        named = [sensor for sensor in self.sensors or () if isinstance(sensor, str)]
        if any(not sensor.removeprefix(_EXTERNAL) or not sensor.startswith(_EXTERNAL) for sensor in named):
            raise UsageError(f"sensors must hold sensors or 'external:PATH', not {named!r}.")
        for sensor in self.given_sensors:
            # A property that raises is reported at the start of the recording.
            if not all(attribute in dir(sensor) for attribute in ("domains", "read", "close")):
                raise UsageError(f"sensors must hold sensors or 'external:PATH', not {sensor!r:.100}.")
        if len(named) > 1:
            raise UsageError(
                "sensors can name one external meter; add up several in the program that reads them."
            )
        if self.resume is not None and not Path(self.resume).is_dir():
            raise UsageError(f"resume must be a run directory; {str(self.resume)!r} is not a directory.")

    @property
    def given_sensors(self) -> "tuple[Sensor, ...]":
        """The sensors that were given as objects."""
        return tuple(sensor for sensor in self.sensors or () if not isinstance(sensor, str))

    @property
    def external_meter(self) -> str | None:
        """Path of the external meter that was given as ``external:PATH``."""
        named = (sensor for sensor in self.sensors or () if isinstance(sensor, str))
        return next((name.removeprefix(_EXTERNAL) for name in named), None)

    def run_json_sections(self) -> dict[str, Any]:
        """Return the sections of ``run.json`` that hold what the user declared; empty ones are absent."""
        sections = {
            emissions.SECTION: self.prices.as_dict(),
            budget.SECTION: self.budget.as_dict(),
            lr_plan.TOTAL: self.total_steps and int(self.total_steps),
            lr_plan.SECTION: self.plan and self.plan.section(),
            CONFIG: self.config,
        }
        return {name: section for name, section in sections.items() if section}


def _plain_settings(settings: object) -> dict[str, Plain]:
    """Check and copy the user's settings; scalars of numpy and torch become numbers."""
    if not isinstance(settings, Mapping) or len(settings) > _MOST_SETTINGS:
        raise UsageError(
            f"config must be a mapping of at most {_MOST_SETTINGS:,} names to plain values, not {settings!r:.100}."
        )
    return {_setting_name(name): _setting(name, value) for name, value in settings.items()}


def _setting_name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise UsageError(f"config has a key that is not a name: {name!r:.100}.")
    return name


def _setting(name: str, value: Any) -> Plain:
    if hasattr(value, "item"):
        with suppress(RuntimeError, TypeError, ValueError):  # several elements: refused below
            value = value.item()
    if is_secret(name, value):
        raise UsageError(
            f"config[{name!r}] looks like a secret and would be stored in run.json; leave it out."
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"config[{name!r}] must be finite, not {value!r}.")
    if (isinstance(value, str) and len(value) > _LONGEST_SETTING) or (
        isinstance(value, int) and value.bit_length() > _LONGEST_SETTING
    ):
        raise UsageError(f"config[{name!r}] is too long to be stored in run.json.")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise UsageError(f"config[{name!r}] must be text, a number, a boolean or None, not {value!r:.100}.")


_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_WORDS = {
    "secret",
    "secrets",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "credentials",
    "apikey",
}
_SECRET_KEYS = {"api", "access", "private", "secret", "auth", "encryption"}
_TEXT_TOKENS = {
    "pad", "eos", "bos", "unk", "sep", "cls", "mask", "start", "stop", "end", "special", "image", "video", "audio",
    "separator", "newline", "prefix", "suffix", "padding",
}  # fmt: skip
"""Words before ``token`` in names of tokens of a text."""
_SECRET_VALUE = re.compile(r"(sk-|hf_|ghp_|github_pat_|gho_|glpat-|xox[abp]-|AKIA)[\w-]{8,}")


def is_secret(name: str, value: object) -> bool:
    """Return whether a setting looks like a password or an access token, by its name or its value."""
    if not isinstance(value, str) or not value:
        return False
    words = [word.lower() for word in _WORD.findall(name)]
    before, last = words[-2] if len(words) > 1 else "", words[-1] if words else ""
    is_token = last == "token" and before not in _TEXT_TOKENS
    is_key = last == "key" and before in _SECRET_KEYS
    return is_token or is_key or not _SECRET_WORDS.isdisjoint(words) or bool(_SECRET_VALUE.match(value))


def usable_settings(settings: "Mapping[Any, Any]") -> "tuple[dict[str, Plain], list[str]]":
    """Return the plain settings of a framework, and the names of those that look like secrets and were dropped."""
    found: dict[str, Plain] = {}
    secrets = []
    for name, value in settings.items():
        if isinstance(name, str) and is_secret(name, value):
            secrets.append(name)
        elif len(found) < _MOST_SETTINGS:
            with suppress(UsageError):  # nested or not finite: not a setting to store
                found[_setting_name(name)] = _setting(name, value)
    return found, secrets


def keywords() -> "Iterator[Keyword]":
    """Yield the keywords in the order of their declaration."""
    for one in fields(ProfilerConfig):
        if _METADATA in one.metadata:
            yield Keyword(one.name, *one.metadata[_METADATA])


def environment_defaults(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the keywords that environment variables set, such as ``ENERGY_PROFILER_PUE``; empty ones are ignored.

    Raises:
        UsageError: A value has the wrong type; the message names the variable.
    """
    found = {}
    for keyword in keywords():
        text = environ.get(keyword.environment_variable, "").strip() if keyword.environment_variable else ""
        if text:
            try:
                found[keyword.name] = _parsed(keyword, text)
            except ValueError:
                expected = keyword.metavar or "true or false"
                raise UsageError(
                    f"the environment variable {keyword.environment_variable} must be {expected}, not {text!r:.40}."
                ) from None
    return found


def _parsed(keyword: Keyword, text: str) -> Any:
    if keyword.type is bool:
        return _SWITCH[text.lower()] if text.lower() in _SWITCH else _refuse()
    if keyword.type is dict:
        pairs = [item.partition("=") for item in text.split(",")]
        return {name.strip(): scalar(value.strip()) if mark else _refuse() for name, mark, value in pairs}
    convert: Any = keyword.type or str
    return convert(text)


def _refuse() -> NoReturn:
    raise ValueError


def scalar(text: str) -> object:
    """Convert a JSON scalar to a number, a boolean or None; other text stays text."""
    try:
        known = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(known, dict | list | str) else known


def with_environment(keywords: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Add the defaults of the environment to a user's keywords, which come first.

    Raises:
        TypeError: `EnergyProfiler` has no such keyword.
    """
    known = [one.name for one in fields(ProfilerConfig) if one.init]
    for name in keywords:
        if name not in known:
            import difflib

            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}=?" if close else ""
            raise TypeError(f"EnergyProfiler() has no keyword {name!r}{hint}")
    defaults = environment_defaults(environ)
    if not _GRID.isdisjoint(keywords):  # the user's country replaces the site's intensity, and the reverse
        defaults = {name: value for name, value in defaults.items() if name not in _GRID}
    return {**defaults, **keywords}


def documentation() -> str:
    """Return the keywords as the ``Args`` section of a docstring."""
    paragraphs = (f"{one.name}: {one.help} {one.details}".rstrip() for one in keywords())
    indented = (
        fill(text, _WIDTH, initial_indent=_INDENT, subsequent_indent=f"{_INDENT}    ") for text in paragraphs
    )
    return "\n".join(("    Args:", *indented))
