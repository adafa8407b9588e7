"""The whole stack over a simulated engine: `python -m bench.simulator.stack --profile NAME` is `keepword serve` with it."""

from functools import partial
from typing import Annotated, Final

import typer

from bench.simulator.model import open_simulated
from bench.simulator.profile import load_profile
from serving.engine.deployment import model_app
from serving.serve import run_until_stopped
from serving.settings import Settings

MAX_ONGOING: Final = 20_000
"""The engine's own queue is what is simulated: Serve in front of it refuses nothing."""


def main(profile: Annotated[str, typer.Option(help="A name from `bench.simulator.profile.profile_names`.")] = "cpu") -> None:
    """Serve with KEEPWORD_* settings until SIGINT or SIGTERM."""
    load_profile(profile)  # a misspelt name ends here, not in a replica
    run_until_stopped(Settings.load(), model_app(partial(open_simulated, profile), max_ongoing_requests=MAX_ONGOING))


if __name__ == "__main__":
    typer.run(main)
