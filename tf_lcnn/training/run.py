"""A run of train.py, as its flags say, and which flags go together."""

import dataclasses
import pathlib

from tf_lcnn import checks, models, tasks
from tf_lcnn.data import bayer

# What may be another when a run is resumed: it does not decide what is trained.
FREE = (
    *(
        "data_dir",
        "test_dirs",
        "target_dir",
        "download",
        "epochs",
        "run_dir",
        "overwrite",
        "resume",
        "test_only",
        "benchmark",
    ),
    *("tensorboard", "numbers", "export", "coding_cache", "prices", "checkpoint_steps"),
)

# Files, which may lie elsewhere by now: their names have to be the same.
PATHS = ("init_from", "plan")


@dataclasses.dataclass(frozen=True)
class Run:
    """The values of train.py's flags; their help says what each is.

    Raises:
        ValueError: flags that do not go together, or numbers out of bounds.
    """

    task: str
    dataset: str
    data_dir: str | None
    image_size: int | None
    points: int | None
    class_names: list | None
    preprocessing: str
    download: bool
    scale: int | None
    sigma: float | None
    mosaic: str | None
    shot: float | None
    read: float | None
    target_dir: str | None
    loss: str
    patch_size: int | None
    patches: int | None
    test_dirs: list | None
    model: str
    dictionary_sizes: list
    l1: float
    threshold_scale: float | None
    threshold_gradient: str
    top_s: int | None
    top_s_when: str
    top_s_from: int | None
    top_s_epochs: int | None
    init_from: str | None
    family: str
    activation_levels: int
    weight_levels: int
    table: str
    table_rank: int | None
    keep: list
    plan: str | None
    speedup: float | None
    budget: float | None
    budget_unit: str
    budget_delegate: bool
    budget_quantize: str
    prices: str | None
    init: str
    calibration_images: int
    coding_cache: str | None
    reestimate_bn: bool
    distill: float
    temperature: float
    hint_layers: list
    hint_weight: float
    loose_lookups: float
    loose_rows: float
    tighten_epochs: int | None
    revive_rows: bool
    drop_rows: bool
    epochs: int
    batch_size: int
    break_batch: int
    optimizer: str
    momentum: float
    learning_rate: float
    schedule: str
    weight_decay: float
    weight_decay_epochs: int | None
    precision: str
    seed: int
    run_dir: str | None
    overwrite: bool
    resume: bool
    checkpoint_steps: int | None
    retrain: str | None
    test_only: bool
    benchmark: bool
    tensorboard: bool
    numbers: str
    export: bool

    @classmethod
    def of(cls, flags):
        """The Run of absl's parsed FlagValues.

        Raises:
            ValueError: see the class; or a flag of another task.
        """
        values = {name: flags[name].value for name in names()}
        task = tasks.named(values["task"])
        values |= {name: values[name] or getattr(task, name) for name in ("dataset", "model")}
        for other in map(tasks.named, tasks.names()):
            for name in set(other.flags) - set(task.flags):
                if values[name] != flags[name].default:
                    raise ValueError(f"--{name} is not for --task={task.name}.")
        return cls(**values)

    def __post_init__(self):
        self._check_task()
        self._check_numbers()
        self._check_start()
        self._check_lookups()
        self._check_coding()
        self._check_numbers_of_file()

    @property
    def coded(self):
        """Whether the LCNN comes from a trained parent."""
        return bool(self.init_from)

    @property
    def tables(self):
        """Whether the net that is trained has tables in place of products."""
        return self.family == "deep_lookup"

    @property
    def directory(self):
        """Where the run is kept."""
        if self.run_dir:
            return pathlib.Path(self.run_dir)
        kind = "tables" if self.tables else "coded"
        name = f"{pathlib.Path(self.init_from).stem}_{kind}" if self.coded else self.model
        return pathlib.Path("runs", f"{name}_{self.dataset}")

    @property
    def quantize(self):
        """The number format that milliseconds are in."""
        return None if self.budget_quantize == "none" else self.budget_quantize

    @property
    def rounds(self):
        """Whether the trained net is fitted to the numbers of its file."""
        return self.numbers != "float32"

    @property
    def sensor(self):
        """The `bayer.Sensor` that mosaics are of."""
        given = {"pattern": self.mosaic, "shot": self.shot, "read": self.read}
        return bayer.Sensor(**{name: x for name, x in given.items() if x is not None})

    @property
    def taught(self):
        """Whether the labels hold the answers of the parent too."""
        by_logits = tasks.named(self.task).taught_by_logits
        return self.coded and by_logits and bool(self.distill or self.hint_layers)

    @property
    def factors(self):
        """(lookups, rows): what a coded LCNN starts with, over what it ends with."""
        return self.loose_lookups, self.loose_rows

    def _check_task(self):
        networks = tasks.named(self.task).networks
        if models.task(self.model) != networks:
            raise ValueError(
                f"--model={self.model} is for --task={models.task(self.model)}; for "
                f"--task={self.task} there are {', '.join(models.names(networks))}."
            )
        if self.hint_layers and not tasks.named(self.task).taught_by_logits:
            raise ValueError(f"--hint_layers are not for --task={self.task}.")
        if self.task != "demosaicing" and self.mosaic is None:
            for name in ("shot", "read"):
                if getattr(self, name) is not None:
                    raise ValueError(f"--{name} needs --mosaic, the pattern of the sensor.")
        elif self.mosaic is not None and self.preprocessing != "own":
            raise ValueError("--preprocessing is not for --mosaic, which is from 0 to 1.")
        _ = self.sensor

    def _check_numbers(self):
        bounds = {
            "learning_rate": {"above": 0},
            "momentum": {"least": 0, "most": 1},
            "weight_decay": {"least": 0},
            "l1": {"least": 0},
            "distill": {"least": 0, "most": 1},
            "temperature": {"above": 0},
            "hint_weight": {"least": 0},
            "loose_lookups": {"least": 1},
            "loose_rows": {"least": 1},
        }
        for name, bound in bounds.items():
            checks.number(getattr(self, name), f"--{name}", **bound)
        bounds = {"threshold_scale": {"least": 0}, "budget": {"above": 0}, "speedup": {"above": 1}}
        for name, bound in bounds.items():
            if getattr(self, name) is not None:
                checks.number(getattr(self, name), f"--{name}", **bound)
        if self.batch_size % self.break_batch:
            raise ValueError(
                f"--batch_size={self.batch_size} does not break into --break_batch="
                f"{self.break_batch} equal parts."
            )
        if self.weight_decay_epochs is not None:
            checks.whole_number(self.weight_decay_epochs, "--weight_decay_epochs", least=0)
            if not self.weight_decay:
                raise ValueError("--weight_decay_epochs needs --weight_decay.")

    def _check_start(self):
        for one, other, why in (
            ("resume", "overwrite", "one goes on with the run, the other replaces it"),
            ("init_from", "retrain", "a run starts from one model"),
        ):
            if getattr(self, one) and getattr(self, other):
                raise ValueError(f"--{one} and --{other} do not go together: {why}.")

    def _check_lookups(self):
        dense = not self.coded and not self.retrain and not self.model.endswith("_lcnn")
        if self.top_s and dense:
            raise ValueError(f"--top_s: {self.model} is dense; {self.model}_lcnn has lookups.")
        if self.top_s and self.coded:
            raise ValueError("--top_s: with --init_from the plan says how many lookups there are.")
        if self.top_s_from and not self.top_s:
            raise ValueError("--top_s_from needs --top_s, the lookups in the end.")
        if self.top_s_epochs and not self.top_s_from:
            raise ValueError("--top_s_epochs needs --top_s_from, the lookups at the start.")
        if self.top_s_from and self.top_s_from < self.top_s:
            raise ValueError(
                f"--top_s_from={self.top_s_from} is below --top_s={self.top_s}: lookups go down."
            )

    def _check_coding(self):
        if self.tables and (not self.coded or self.init == "random" or max(self.factors) > 1):
            raise ValueError(
                "--family=deep_lookup needs --init_from, the trained model, whose weights stay: no "
                "--init=random, --loose_lookups or --loose_rows."
            )
        if self.keep and not self.tables:
            raise ValueError("--keep is for --family=deep_lookup; a --plan says what stays dense.")
        if not self.coded:
            if any(self._sizes()):
                raise ValueError(
                    "--plan, --budget and --speedup need --init_from, the trained model."
                )
            for name in ("coding_cache", "hint_layers", "tighten_epochs"):
                if getattr(self, name):
                    raise ValueError(f"--{name} needs --init_from, the trained model.")
            if max(self.factors) > 1:
                raise ValueError("--loose_lookups and --loose_rows need --init_from.")
        elif self.tables and any(self._sizes()):
            raise ValueError(
                "--family=deep_lookup takes no --plan, --budget or --speedup: --activation_levels, "
                "--weight_levels and --table say what its layers are."
            )
        elif not self.tables and sum(self._sizes()) != 1:
            raise ValueError("--init_from needs --plan, --budget or --speedup, one of them.")
        timed = self.budget is not None and self.budget_unit == "milliseconds"
        if not timed and (self.budget_delegate or self.quantize):
            raise ValueError(
                "--budget_delegate and --budget_quantize are for a --budget of "
                "--budget_unit=milliseconds."
            )
        if not timed and self.prices and self.speedup is None:
            raise ValueError(
                "--prices is for --speedup, and for a --budget of --budget_unit=milliseconds."
            )

    def _check_numbers_of_file(self):
        if not self.rounds:
            return
        if self.speedup is not None or self.tables:
            raise ValueError(
                f"--numbers={self.numbers} is not for --speedup or --family=deep_lookup: their "
                "files have numbers of their own."
            )
        if self.threshold_scale == 0 or self.threshold_gradient != "masked":
            raise ValueError(
                f"--numbers={self.numbers} trains on with the lookups that are there: that needs "
                "--threshold_gradient=masked and a --threshold_scale above 0, the defaults."
            )

    def _sizes(self):
        """Of the flags that say k and s, which are given."""
        return [x is not None for x in (self.plan, self.budget, self.speedup)]


def names():
    """The names of the flags that a Run has."""
    return [field.name for field in dataclasses.fields(Run)]


def refuse_changes(before, now, stored):
    """Raises ValueError where a run that is resumed has other flags than it began with.

    What is `FREE` may differ, and the folders of `PATHS`. Of the epochs there may be more or
    fewer: the schedule of the learning rate is then that of the new number, and a line says so.

    Args:
        before, now: flag name -> value.
        stored: the file of the flags that it began with, for messages.
    """

    def value(flags, name):
        named = name in PATHS and flags[name]
        return pathlib.Path(flags[name]).name if named else flags[name]

    differing = [x for x in before if x not in FREE and value(before, x) != value(now, x)]
    if differing:
        listed = ", ".join(f"--{x} was {before[x]!r}, is {now[x]!r}" for x in differing)
        raise ValueError(
            f"{stored} says what the run is that --resume goes on with, and {listed}: leave it "
            "out, or take another --run_dir."
        )
    if before["epochs"] != now["epochs"] and now["schedule"] == "cosine":
        print(
            f"The learning rate now falls to 0 over {now['epochs']} epochs, where it was "
            f"{before['epochs']}: it goes on at another rate than it stopped with."
        )
