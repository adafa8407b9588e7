"""The error tree. Every error says whether a retry can help and what the caller can do.

KeepwordError
├── BadInput                what came in is wrong; `field` names where
├── NotFound                no such session, turn, clause, model, …
├── NotAllowed              it exists and is someone else's
├── TurnInProgress          the session already runs a turn
├── HandoffTaken            another operator has it, or it is closed
├── Overloaded              come back after `retry_after_s`
├── ModelFailure            the engine gave no usable output
│   ├── EmptyOutput         nothing, or white space
│   ├── TruncatedOutput     cut by max_tokens before the structure closed
│   ├── InvalidOutput       does not match the requested structure
│   ├── DeadlineExceeded    the request's deadline passed
│   └── EngineUnavailable   the engine cannot be reached or died
├── ToolFailure             a tool gave no usable result
│   ├── ToolRefused         the other system said no; final
│   ├── ToolFailed          it certainly did not happen
│   └── ToolUnknown         it may or may not have happened: reconcile by key
├── PackInvalid             `mistakes` lists each with file and line
├── ModelFileError          a model file is missing, wrong or half there
└── SettingsInvalid         a setting is missing, misspelt or malformed
"""

from dataclasses import dataclass


class KeepwordError(Exception):
    """Base of everything Keepword raises on purpose. `type` is stable and appears in problem+json."""

    type: str = "internal"
    retryable: bool = False
    hint: str = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if hint is not None:
            self.hint = hint


class BadInput(KeepwordError):
    type = "bad-input"

    def __init__(self, message: str, *, field: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.field = field


class NotFound(KeepwordError):
    type = "not-found"


class NotAllowed(KeepwordError):
    type = "not-allowed"


class TurnInProgress(KeepwordError):
    type = "turn-in-progress"
    retryable = True
    hint = "Wait for turn.done on the session's events, or retry after it."


class HandoffTaken(KeepwordError):
    type = "handoff-taken"


class Overloaded(KeepwordError):
    type = "overloaded"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message, hint=f"Retry after {retry_after_s:.0f} s.")
        self.retry_after_s = retry_after_s


class ModelFailure(KeepwordError):
    type = "model-failure"
    retryable = True


class EmptyOutput(ModelFailure):
    type = "empty-output"


class TruncatedOutput(ModelFailure):
    type = "truncated-output"


class InvalidOutput(ModelFailure):
    type = "invalid-output"


class DeadlineExceeded(ModelFailure):
    type = "deadline-exceeded"


class EngineUnavailable(ModelFailure):
    type = "engine-unavailable"


class ToolFailure(KeepwordError):
    type = "tool-failure"


class ToolRefused(ToolFailure):
    type = "tool-refused"


class ToolFailed(ToolFailure):
    type = "tool-failed"
    retryable = True


class ToolUnknown(ToolFailure):
    type = "tool-unknown"
    retryable = True
    hint = "Ask the other system by the action's idempotency key before trying again."


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a pack: where it stands and how to mend it. `line` counts from 1."""

    file: str
    line: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class PackInvalid(KeepwordError):
    type = "pack-invalid"

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes), hint="Run `keepword policy check`.")
        self.mistakes = mistakes


class ModelFileError(KeepwordError):
    type = "model-file"


class SettingsInvalid(KeepwordError):
    type = "settings-invalid"
