"""Tools of an HTTP service that has an OpenAPI document, for a pack's tools.py:

async def open_back_office(data_dir: Path) -> OpenApiService:
    return OpenApiService.open(json.loads(Path("orders.json").read_text()), "https://orders.example", needs=["refund_order"])

@tool(kind="write")
async def refund(orders: OpenApiService, call: ToolCall, order_id: str, amount_cents: int) -> Refund:
    key = {"Idempotency-Key": call.key}
    return await orders.call("refund_order", Refund, order_id=order_id, amount_cents=amount_cents, **key)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from agents.domain.errors import BadInput, NotFound, ToolFailed, ToolRefused
from agents.tools.remote import RemoteBroke, RemoteTool, Returned, typed

METHODS = ("get", "put", "post", "delete", "patch")
NEVER_DONE = frozenset({429, 503})  # turned away before anything was done (RFC 6585, RFC 9110 with Retry-After)
TIMEOUT_S = 30.0  # the desk's own timeout of a tool is shorter


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the document; `places`: where each argument goes (path, query, header or body)."""

    method: str
    path: str
    tool: RemoteTool
    places: Mapping[str, str]


class OpenApiService:
    """A service's operations by their `operationId`. Build with `open`."""

    def __init__(self, operations: Mapping[str, Operation], http: httpx.AsyncClient) -> None:
        self._operations, self._http = operations, http

    @classmethod
    def open(
        cls,
        document: Mapping[str, Any],
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        needs: Sequence[str] = (),
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> "OpenApiService":
        """`document` is OpenAPI 3.x; `headers` go with every call (an API key). Raises BadInput for a document of another
        kind, NotFound for an operation in `needs` it lacks."""
        if not str(document.get("openapi", "")).startswith("3."):
            raise BadInput("this is no OpenAPI 3 document", field="openapi", hint="Its field `openapi` must be 3.0.x or 3.1.x.")
        operations = _operations(document)
        for name in needs:
            if name not in operations:
                hint = f"It has: {', '.join(sorted(operations))}."
                raise NotFound(f"the OpenAPI document has no operation {name!r}", hint=hint)
        http = httpx.AsyncClient(base_url=base_url, headers=dict(headers or {}), timeout=TIMEOUT_S, transport=transport)
        return cls(operations, http)

    def tools(self) -> Mapping[str, RemoteTool]:
        return {name: operation.tool for name, operation in self._operations.items()}

    async def call(self, operation: str, returns: type[Returned], /, **args: Any) -> Returned:
        """Call an operation and give its JSON answer as `returns`. Raises BadInput before anything is sent; ToolRefused when
        the service says no (4xx), ToolFailed when it certainly did nothing, RemoteBroke when nobody can tell."""
        found = self._operations.get(operation)
        if found is None:
            hint = f"It has: {', '.join(sorted(self._operations))}."
            raise NotFound(f"the OpenAPI document has no operation {operation!r}", hint=hint)
        found.tool.check(args)
        request = _request(found, args)
        try:
            response = await self._http.request(found.method, **request)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise ToolFailed(f"{operation}: the service cannot be reached") from error
        except httpx.HTTPError as error:
            raise RemoteBroke(f"{operation} broke: {type(error).__name__}") from error
        if response.status_code in NEVER_DONE:
            raise ToolFailed(f"{operation}: the service is overloaded ({response.status_code})")
        if 400 <= response.status_code < 500 and response.status_code != httpx.codes.REQUEST_TIMEOUT:
            raise ToolRefused(f"{operation}: {response.status_code} {response.text[:200]}")
        if not response.is_success:
            raise RemoteBroke(f"{operation} failed: {response.status_code}")
        try:
            answer = response.json()
        except ValueError as error:
            raise RemoteBroke(f"{operation} answered with no JSON") from error
        return typed(operation, answer, returns)

    async def close(self) -> None:
        await self._http.aclose()


def _operations(document: Mapping[str, Any]) -> dict[str, Operation]:
    found = {}
    for path, item in document.get("paths", {}).items():
        for method in METHODS:
            raw = item.get(method)
            if raw is not None and "operationId" in raw:
                shared = [_followed(document, each) for each in (*item.get("parameters", ()), *raw.get("parameters", ()))]
                found[raw["operationId"]] = _operation(document, method, path, raw, shared)
    return found


def _operation(
    document: Mapping[str, Any], method: str, path: str, raw: Mapping[str, Any], parameters: Sequence[Mapping[str, Any]]
) -> Operation:
    properties = {each["name"]: each.get("schema", {}) for each in parameters}
    places = {each["name"]: each["in"] for each in parameters}
    required = [each["name"] for each in parameters if each.get("required")]
    content = _followed(document, raw.get("requestBody", {})).get("content", {})
    body = _followed(document, content.get("application/json", {}).get("schema", {}))
    for name, schema in body.get("properties", {}).items():
        properties[name], places[name] = schema, "body"
    required += body.get("required", [])
    schema = {
        "type": "object",
        "properties": properties,
        "required": sorted(set(required)),
        "additionalProperties": False,
        "components": document.get("components", {}),  # where references point
    }
    said = raw.get("summary") or raw.get("description") or ""
    return Operation(method.upper(), path, RemoteTool(raw["operationId"], said, schema), places)


def _followed(document: Mapping[str, Any], value: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a local reference points at."""
    while "$ref" in value:
        target: Any = document
        for step in str(value["$ref"]).removeprefix("#/").split("/"):
            target = target[step.replace("~1", "/").replace("~0", "~")]
        value = target
    return value


def _request(operation: Operation, args: Mapping[str, Any]) -> dict[str, Any]:
    def at(place: str) -> dict[str, Any]:
        return {name: value for name, value in args.items() if operation.places.get(name) == place and value is not None}

    path = operation.path
    for name, value in at("path").items():
        if str(value) in ("", ".", ".."):  # would name another path
            raise BadInput(f"{operation.tool.name}: {name}: {value!r} is no name", field=name, hint="Give the thing's id.")
        path = path.replace(f"{{{name}}}", quote(str(value), safe=""))
    request: dict[str, Any] = {"url": path, "params": at("query"), "headers": {n: str(v) for n, v in at("header").items()}}
    if "body" in operation.places.values():
        request["json"] = at("body")
    return request
