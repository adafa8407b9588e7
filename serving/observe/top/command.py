"""`keepword top`: reads a running desk's /metrics and shows what happens there."""

import json
import time
from dataclasses import asdict
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.live import Live

from agents.domain.errors import KeepwordError
from serving.observe.top.figures import Figures, figures
from serving.observe.top.samples import Reading
from serving.observe.top.screen import Screen

TIMEOUT_S = 5.0


class NoMetrics(KeepwordError):
    """Nothing answers there, or something that is no desk."""

    type = "no-metrics"
    hint = "Is `keepword serve` running there? Name it with --url, for example --url http://127.0.0.1:8000."


def top(
    url: Annotated[str, typer.Option(help="Where the desk answers.")] = "http://127.0.0.1:8000",
    every: Annotated[float, typer.Option(min=0.2, max=60, help="Seconds between two readings.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="One screen, after one interval, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Figures as JSON, one object a line.")] = False,
) -> None:
    """A live view of a running desk: turns, stages, engines, errors, tenants. Ends on Ctrl-C."""
    console = Console()
    where = url.removeprefix("http://").removeprefix("https://").rstrip("/")
    with httpx.Client(timeout=TIMEOUT_S) as client:
        before = read(client, url)
        if once or as_json:
            while True:
                time.sleep(every)
                now = read(client, url)
                _print(figures(before, now), where, console, as_json=as_json)
                if once:
                    return
                before = now
        _live(client, url, before, every, where, console)


def _live(client: httpx.Client, url: str, before: Reading, every: float, where: str, console: Console) -> None:
    """Goes on while the desk is away, and says so: who watches a restart wants to see it come back."""
    with Live(Screen(figures(before, before), where), console=console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(every)
            try:
                now = read(client, url)
            except NoMetrics as error:
                live.update(Screen(figures(before, before), f"{where} does not answer: {error.message}"), refresh=True)
                continue
            live.update(Screen(figures(before, now), where), refresh=True)
            before = now


def _print(found: Figures, where: str, console: Console, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(found), ensure_ascii=False), flush=True)
    else:
        console.print(Screen(found, where))


def read(client: httpx.Client, url: str) -> Reading:
    """Raises NoMetrics."""
    try:
        answer = client.get(f"{url.rstrip('/')}/metrics")
        answer.raise_for_status()
        reading = Reading.of(answer.text, time.monotonic())
    except httpx.HTTPStatusError as error:
        raise NoMetrics(f"{url} answers {error.response.status_code} to /metrics") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NoMetrics(f"nothing answers at {url}: {type(error).__name__}") from error
    except ValueError as error:
        raise NoMetrics(f"{url} answers no metrics to /metrics") from error
    if not reading.samples:
        raise NoMetrics(f"{url} has no metrics of Keepword")
    return reading
