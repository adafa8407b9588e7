"""Our replicas' lines in the terminal or container log of `keepword serve`, bare: Ray would put its own prefix before each, and
a line of JSON would be none any more. Ray brings the lines here from every node's workers; its own are shown at DEBUG only."""

import sys
from functools import partial
from typing import Any, Final, Protocol

from ray._private.ray_logging import global_worker_stdstream_dispatcher
from ray._private.worker import print_to_stdstream

from serving.observe.logs import is_ours

HANDLER: Final = "ray_print_logs"  # what Ray calls its own


class Out(Protocol):
    def write(self, text: str, /) -> object: ...

    def flush(self) -> None: ...


def show_ours(*, rays_too: bool, out: Out | None = None) -> None:
    """Call it once `ray.init(log_to_driver=True)` has returned. `rays_too`: with the prefix that says whose they are."""
    global_worker_stdstream_dispatcher.remove_handler(HANDLER)
    global_worker_stdstream_dispatcher.add_handler(HANDLER, partial(_show, rays_too=rays_too, out=out or sys.stderr))


def _show(batch: dict[str, Any], *, rays_too: bool, out: Out) -> None:
    """`batch` is Ray's: `lines` of one worker's output, and which worker it was."""
    rest = []
    for line in batch["lines"]:
        if is_ours(line):
            out.write(f"{line}\n")
        else:
            rest.append(line)
    out.flush()
    if rays_too and rest:
        print_to_stdstream({**batch, "lines": rest}, ignore_prefix=False)
