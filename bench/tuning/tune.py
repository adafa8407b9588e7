"""`keepword bench tune`: the settings with the best goodput under a service level, found by optuna's TPE.

A candidate's rates are tried from low to high; one that falls behind the median of the others at the same point is given up
(median pruning), and the search ends when nothing better came for a while. On a simulated engine, where Serve's admission is
searched too, none wins that keeps less in an overload than the settings there are now: goodput bought with a collapse is none.
The winner is then held against those settings, on arrivals the search has not seen.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import optuna

from agents.domain.errors import SettingsInvalid
from bench.result import BenchResult, bar
from bench.simulator.profile import Profile
from bench.tuning.goodput import Goodput, Level, simulated_goodput
from bench.tuning.real import real_goodput
from bench.tuning.settings import Settings, as_toml, default_settings, suggested
from serving.engine.validate import validate

PATIENCE: Final = 40
OTHER_ARRIVALS: Final = 3

Reached = Callable[[float], None]
"""Told the best rate after every point of a candidate; it may raise to give the candidate up."""


@dataclass(frozen=True, slots=True)
class Search:
    """On what is searched: a simulated engine of `profile`, or (`real`) this CPU's, whose limits `profile` has. `model` is the
    name in models.toml the winner is written for; `trials` the most candidates."""

    profile: Profile
    level: Level
    model: str
    trials: int
    real: bool = False

    def measure(self, settings: Settings, arrivals: int, reached: Reached) -> Goodput:
        if self.real:
            return real_goodput(self.model, settings, self.level, arrivals, reached)
        return simulated_goodput(self.profile, settings, self.level, arrivals, reached)

    def candidate(self, trial: optuna.Trial | optuna.trial.FixedTrial) -> Settings:
        """The first is what there is now."""
        return suggested(trial, self.profile.limits, serve=not self.real) if trial.number else self.now

    @property
    def now(self) -> Settings:
        return default_settings(self.profile.limits)


def run(wanted: Search, *, seed: int, write: Path | None, progress: Callable[[int, int], None]) -> BenchResult:
    """Search, check the winner. `write`: a file for it, as serving/models.toml would have it."""
    study = search(wanted, seed=seed, progress=progress)
    best = wanted.now
    if study.best_trial.number:
        fixed = optuna.trial.FixedTrial(study.best_trial.params, number=study.best_trial.number)
        best = wanted.candidate(fixed)
    unseen = [_on_other_arrivals(wanted, best, seed + 1000 + one) for one in range(1 if wanted.real else OTHER_ARRIVALS)]
    gains = [won.value / had.value if had.value else 1.0 for won, had in unseen]
    in_overload = [won.overloaded_per_s - had.overloaded_per_s for won, had in unseen]
    problems = [str(problem) for problem in validate(best.engine)]
    if write is not None:
        on = "this CPU" if wanted.real else f"simulated {wanted.profile.name}"
        said = f"`keepword bench tune` on {on}: first sentence within {wanted.level.slo_s:g} s for 95 % of the turns"
        table = "cpu" if wanted.real or wanted.profile.name == "cpu" else "gpu"
        write.write_text(as_toml(wanted.model, table, best, said), encoding="utf-8")
    bars = {
        "goodput_to_default": bar(study.best_value / (study.trials[0].value or 1e-9), 1.0, ">="),
        "goodput_to_default_on_other_arrivals": bar(median(gains), 1.0, ">="),
        "overloaded_gain_per_s_on_other_arrivals": bar(median(in_overload), None if wanted.real else 0.0, ">="),
        "arguments_refused_by_vllm": bar(len(problems), 0),
    }
    return BenchResult("bench tune", bars, _detail(wanted, study, best, problems))


def search(wanted: Search, *, seed: int, progress: Callable[[int, int], None]) -> optuna.Study:
    """A study of at most `trials` candidates; the first is what there is now, and it is never given up."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=20),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3),
    )

    def objective(trial: optuna.Trial) -> float:
        settings, steps = wanted.candidate(trial), iter(range(1000))

        def reached(rate_per_s: float) -> None:
            trial.report(rate_per_s, next(steps))
            if trial.number and trial.should_prune():
                raise optuna.TrialPruned

        try:
            found = wanted.measure(settings, seed, reached)
        except (SettingsInvalid, ChildProcessError) as error:
            trial.set_user_attr("refused", str(error))
            raise optuna.TrialPruned from error
        finally:
            progress(trial.number + 1, wanted.trials)
        trial.set_user_attr("goodput", asdict(found))
        if not wanted.real:
            first = study.trials[0].user_attrs["goodput"]
            trial.set_constraint("overload", first["overloaded_per_s"] - found.overloaded_per_s)
        return found.value

    study.optimize(objective, n_trials=wanted.trials, callbacks=[_enough])
    return study


def _enough(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    """Stop when the last `PATIENCE` candidates were no better."""
    if trial.number - study.best_trial.number >= PATIENCE:
        study.stop()


def _on_other_arrivals(wanted: Search, best: Settings, arrivals: int) -> tuple[Goodput, Goodput]:
    """The goodput of the winner and of what there is now, on arrivals of another seed."""
    before = wanted.measure(wanted.now, arrivals, lambda rate: None)
    return (before if best == wanted.now else wanted.measure(best, arrivals, lambda rate: None)), before


def _detail(wanted: Search, study: optuna.Study, best: Settings, problems: list[str]) -> dict[str, Any]:
    states = [trial.state.name.lower() for trial in study.trials]
    return {
        "engine": "real" if wanted.real else wanted.profile.name,
        "source": wanted.profile.source,
        "slo_s": wanted.level.slo_s,
        "winner": {"engine": dict(best.engine), "serve": asdict(best.admission)},
        "default": {"engine": dict(wanted.now.engine), "serve": asdict(wanted.now.admission)},
        "winner_goodput": study.best_trial.user_attrs["goodput"],
        "default_goodput": study.trials[0].user_attrs["goodput"],
        "trials": {state: states.count(state) for state in sorted(set(states))},
        "refused": problems,
        "history": [
            {"trial": trial.number, "value": trial.value, "params": trial.params, **trial.user_attrs} for trial in study.trials
        ],
    }
