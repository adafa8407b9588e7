"""The whole stack over a simulated engine: `python -m bench.simulator.stack --profile NAME` is `keepword serve` with it."""

import os
from functools import partial
from typing import Annotated, Final

import typer

from bench.simulator.model import open_simulated
from bench.simulator.profile import load_profile
from serving import serve_settings
from serving.settings import Settings

MAX_ONGOING: Final = 20_000
"""The engine's own queue is what is simulated: Serve in front of it refuses nothing."""


def main(profile: Annotated[str, typer.Option(help="A name from `bench.simulator.profile.profile_names`.")] = "cpu") -> None:
    """Serve with KEEPWORD_* settings until SIGINT or SIGTERM."""
    load_profile(profile)  # a misspelt name ends here, not in a replica
    settings = Settings.load()
    serve_settings.keep_on_loopback(os.environ)
    from serving.engine.deployment import model_app
    from serving.serve import engine_scaling, run_until_stopped

    model = partial(open_simulated, profile)
    run_until_stopped(settings, model_app(model, max_ongoing_requests=MAX_ONGOING, scale=engine_scaling(settings)))


if __name__ == "__main__":
    typer.run(main)
