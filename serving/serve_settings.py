"""Ray Serve's own settings: environment variables its processes read when they start. The one place that names them.

`keepword bench serve-settings` measures the alternatives one by one, `keepword bench overhead` what the raw model's tokens
cost. A variable the user has set is left as it is.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from agents.domain.errors import SettingsInvalid
from serving.settings import Settings, check_port

Environment = Mapping[str, str]

QUIET: Final[Environment] = {"RAY_DEDUP_LOGS": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_USAGE_STATS_ENABLED": "0"}
LEAN: Final[Environment] = {
    "RAY_worker_niceness": "0",  # at Ray's own 15 the engine yields to whatever else runs on the machine
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",  # a token crosses no thread: half the replica's CPU per token
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",  # nor does a call
    "RAY_SERVE_PROXY_USE_GRPC": "1",  # Serve's proxy speaks to desks as desks to engines (`serving/engine/handle.py`)
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",  # ten times a second, Serve's controller is what an idle stack spends most on
    "RAY_raylet_report_resources_period_milliseconds": "1000",
    "RAY_enable_metrics_collection": "0",  # /metrics is ours
    "RAY_event_stats": "0",
}
"""What keeps CPU for the engine: its threads wait for the one whose core does other work."""
ONE_MACHINE: Final[Environment] = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""No second machine joins: Ray's own ports, which ask nobody for a key, listen on 127.0.0.1, as they do on macOS."""
FAILOVER: Final[Environment] = {
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",  # a dead proxy is found in a second, not in ten
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",  # HAProxy learns in a tenth of a second that a replica goes
}

ALTERNATIVES: Final[Mapping[str, Environment]] = {
    "user code in a thread of its own": {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "1"},
    "router in a loop of its own": {"RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1"},
    "actor calls from the proxy": {"RAY_SERVE_PROXY_USE_GRPC": "0"},
    "log lines in batches": {"RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000", "RAY_SERVE_LOG_TO_STDERR": "0"},
    "asyncio's own event loop": {"RAY_USE_UVLOOP": "0"},
    "no queue length cache": {"RAY_SERVE_QUEUE_LENGTH_CACHE_TIMEOUT_S": "0"},
    "throughput": {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0"},
    "HAProxy": {"KEEPWORD_INGRESS": "haproxy"},
    "HAProxy, throughput": {"KEEPWORD_INGRESS": "haproxy", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
}
"""What can be set, by name, each against what is chosen. HAProxy needs more than Serve's switch: our setting does it all."""

# A session's requests go to one desk while it has no more than 1.5 times the average (HAProxy's own bounded loads); requests
# without a session in their path take turns. Serve writes the value as it is, so it may hold further lines of the section.
HAPROXY_BALANCE: Final = "hash path,field(2,_),field(1,/)\n    hash-type consistent sdbm avalanche\n    hash-balance-factor 150"
REPLICA_PORTS: Final = 100
REPLICA_BLOCKS: Final = range(30_000, 32_700, REPLICA_PORTS)  # below the ports an operating system hands out by itself


def environment(settings: Settings) -> dict[str, str]:
    """Everything Serve's processes are to be started with."""
    chosen = dict(QUIET) | dict(LEAN) | dict(FAILOVER)
    if settings.ingress == "haproxy":
        chosen |= haproxy(settings.port)
    return chosen


def haproxy(port: int) -> dict[str, str]:
    """Files and ports of one stack's HAProxy and of what stands behind it, apart from those of another on the same machine:
    what two share, one answers for the other's customers. HAProxy's status page listens on `port` + 1 and its metrics on
    `port` + 2, on every interface (Serve gives no choice of address); on `port` + 3 and + 4 Serve's own proxies, to which
    HAProxy turns while no replica answers."""
    first = replica_block(port)
    folder = _haproxy_folder(port)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": folder,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/server-state",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{folder}/metrics.sock",
        "RAY_SERVE_HAPROXY_STATS_PORT": str(port + 1),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(port + 2),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(port + 3),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(port + 4),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + REPLICA_PORTS),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(os.cpu_count() or 1, 4)),
        "RAY_SERVE_HAPROXY_BALANCE_ALGORITHM": HAPROXY_BALANCE,
    }


def ports(settings: Settings) -> range:
    """What a stack listens on beside its replicas; see `haproxy`."""
    return range(settings.port, settings.port + (5 if settings.ingress == "haproxy" else 1))


def tidy(settings: Settings) -> None:
    """Remove what the HAProxy of a stack that has ended left behind."""
    shutil.rmtree(_haproxy_folder(settings.port), ignore_errors=True)


def _haproxy_folder(port: int) -> str:
    return os.path.join(tempfile.gettempdir(), f"keepword-haproxy-{port}")  # short: a socket's path has a limit


def replica_block(port: int) -> int:
    """The first of `REPLICA_PORTS` ports that nobody listens on, for the replicas of the stack at `port`. Serve hands a
    replica's port to HAProxy before the replica has bound it: one that another stack has brings that stack's answers to our
    customers until Serve sees it. Stacks that start together look in different blocks first; when all are taken, the first
    must do."""
    begin = port % len(REPLICA_BLOCKS)
    blocks: list[int] = [*REPLICA_BLOCKS[begin:], *REPLICA_BLOCKS[:begin]]
    return next((block for block in blocks if all(map(_free, range(block, block + REPLICA_PORTS)))), blocks[0])


def _free(port: int) -> bool:
    try:
        check_port("127.0.0.1", port)
    except SettingsInvalid:
        return False
    return True


def replica_logs(log_level: str) -> dict[str, Any]:
    """Serve's own logger in a replica of ours: warnings only, but at DEBUG. A line a request is a good part of what a short one
    takes, and Ray carries it to the driver besides; our own lines and metrics tell more."""
    debug = log_level == "DEBUG"
    return {"log_level": "DEBUG" if debug else "WARNING", "enable_access_log": debug}


def keep_on_loopback(environ: MutableMapping[str, str]) -> None:
    """Call it before `ray` is imported, which reads this then. What the user has set stays."""
    _set(ONE_MACHINE, environ)


def apply(settings: Settings, environ: MutableMapping[str, str]) -> None:
    """Set what the user has not set. Before `ray.init`: Serve's processes inherit it. After `ray.serve` is imported: if it knew
    of HAProxy it would refuse to deploy an engine with a router, which it thinks of no use (it is for calls from the desks)."""
    _set(environment(settings), environ)


def _set(values: Environment, environ: MutableMapping[str, str]) -> None:
    for name, value in values.items():
        environ.setdefault(name, value)
