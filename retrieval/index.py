"""A versioned index on disk: built beside, checked by digest, swapped in by a rename, mapped into memory.

ROOT/CURRENT               the name of the version in use
ROOT/<version>/            manifest.json, passages.jsonl, vectors.faiss, lexical/, head-NAME.npz
ROOT/vectors/              embeddings by text hash, so a rebuild embeds only what is new
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.classify import LabelHead
from retrieval.embedding import Embedder, Kind, Vectors
from retrieval.embedding_cache import CachedEmbedder, Progress
from retrieval.lexical import LexicalIndex
from retrieval.normalise import normalise
from retrieval.passages import Passage
from retrieval.training import train_head
from retrieval.vector import VectorIndex

FORMAT = 2
"""Raise it when anything that shapes an index changes: normalisation, tokens, features, training, file layout."""
KEEP_VERSIONS = 3


class IndexDamaged(Exception):
    """The folder does not hold the index its manifest describes. Building it again mends it."""


@dataclass(frozen=True, slots=True)
class Head:
    """A classifier to train: over the passages of `kind` that carry the label `name`."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Index:
    """An opened index. Immutable: searches keep the one they started with while another is swapped in."""

    version: str
    passages: tuple[Passage, ...]
    vectors: VectorIndex
    lexical: LexicalIndex
    heads: Mapping[str, LabelHead]
    cosine_floor: float  # the mean cosine of two passages that have nothing to do with each other
    manifest: Mapping[str, Any]


def index_version(passages: Iterable[Passage], embedder_name: str, heads: Sequence[Head]) -> str:
    """20 hex digits over everything that shapes an index and nothing else, so that an index is never stale, and packs
    that differ in a parameter or a tool only share one."""
    parts = [FORMAT, embedder_name, [asdict(head) for head in heads], [_as_json(each) for each in passages]]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True, sort_keys=True).encode()).hexdigest()[:20]


def ensure_index(
    root: Path,
    passages: Sequence[Passage],
    embedder: Embedder,
    *,
    heads: Sequence[Head] = (),
    progress: Progress | None = None,
) -> Index:
    """Open the index of exactly these passages under `root`, building it when it is missing or damaged.

    Safe for several processes at once: each builds beside, the first rename wins, the others open that one.
    Raises ValueError for repeated passage ids, OSError when the folder cannot be written.
    """
    version = index_version(passages, embedder.name, heads)
    folder = root / version
    try:
        index = open_index(folder)
    except IndexDamaged:
        _build(root, version, passages, embedder, heads, progress)
        index = open_index(folder)
    _point(root, version)
    return index


def current_index(root: Path) -> Index | None:
    """The index CURRENT points at, None when nothing was built. Raises IndexDamaged."""
    try:
        version = (root / "CURRENT").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    return open_index(root / version)


def open_index(folder: Path) -> Index:
    """Check every file against the manifest and map the index. Raises IndexDamaged when it is missing or not whole."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT or manifest["version"] != folder.name:
            raise IndexDamaged(f"{folder.name}: made in another format or for another version")
        for name, expected in manifest["files"].items():
            if _sha256(folder / name) != expected:
                raise IndexDamaged(f"{folder.name}: {name} is not the file that was built")
        with (folder / "passages.jsonl").open(encoding="utf-8") as lines:
            passages = tuple(Passage(**json.loads(line)) for line in lines)
        vectors = VectorIndex.open(folder / "vectors.faiss")
        lexical = LexicalIndex.open(folder / "lexical", len(passages))
        floor = float(manifest["cosine_floor"])
        heads = {name: LabelHead.open(name, folder / f"head-{name}.npz") for name in manifest["heads"]}
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:  # RuntimeError is FAISS's
        raise IndexDamaged(f"{folder.name}: {error}") from error
    if len(vectors) != len(passages):
        raise IndexDamaged(f"{folder.name}: {len(vectors)} vectors for {len(passages)} passages")
    return Index(folder.name, passages, vectors, lexical, heads, floor, manifest)


def embed_passages(passages: Sequence[Passage], embedder: Embedder) -> Vectors:
    """Vectors of the normalised texts, in order: [passages, dimension]."""
    vectors = np.zeros((len(passages), embedder.dimension), dtype=np.float32)
    sides: tuple[Kind, ...] = ("query", "passage")
    for side in sides:
        chosen = [at for at, passage in enumerate(passages) if passage.embed_as == side]
        vectors[chosen] = embedder.embed([normalise(passages[at].text) for at in chosen], side)
    return vectors


def _build(
    root: Path,
    version: str,
    passages: Sequence[Passage],
    embedder: Embedder,
    heads: Sequence[Head],
    progress: Progress | None,
) -> None:
    if len({passage.id for passage in passages}) != len(passages):
        raise ValueError("two passages have the same id")
    beside = root / f".{version}-{uuid.uuid4().hex}"
    beside.mkdir(parents=True)
    try:
        cached = CachedEmbedder(embedder, root / "vectors", progress)
        vectors = embed_passages(passages, cached)
        VectorIndex.build(vectors).save(beside / "vectors.faiss")
        LexicalIndex.build([normalise(passage.text) for passage in passages]).save(beside / "lexical")
        reports = {}
        for head in heads:
            report = train_head(head.name, [each for each in passages if each.kind == head.kind], cached, progress)
            report.head.save(beside / f"head-{head.name}.npz")
            reports[head.name] = report.summary
        cached.save()
        with (beside / "passages.jsonl").open("w", encoding="utf-8") as lines:
            lines.writelines(f"{_as_json(passage)}\n" for passage in passages)
        files = sorted(path for path in beside.rglob("*") if path.is_file())
        manifest = {
            "format": FORMAT,
            "version": version,
            "embedder": embedder.name,
            "passages": len(passages),
            "cosine_floor": _cosine_floor(vectors),
            "heads": reports,
            "files": {path.relative_to(beside).as_posix(): _sha256(path) for path in files},
        }
        (beside / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        _move_into_place(beside, root / version)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    _prune(root, version)


def _cosine_floor(vectors: Vectors) -> float:
    """The mean cosine over all pairs: the squared length of the mean vector, a row's cosine with itself left out."""
    count = len(vectors)
    if count < 2:
        return 0.0
    total = float(np.square(vectors.sum(axis=0, dtype=np.float64)).sum())
    return min(max((total - count) / (count * (count - 1)), 0.0), 0.99)


def _move_into_place(beside: Path, folder: Path) -> None:
    """Rename `beside` to `folder`. A folder already there is another process's whole index, or a damaged one to replace."""
    while True:
        try:
            beside.rename(folder)
            return
        except OSError:
            if not folder.exists():
                raise
        try:
            open_index(folder)
            return
        except IndexDamaged:
            aside = folder.with_name(f".{folder.name}-damaged-{uuid.uuid4().hex}")
            try:
                folder.rename(aside)
            except FileNotFoundError:
                continue  # another process moved it first
            shutil.rmtree(aside, ignore_errors=True)


def _point(root: Path, version: str) -> None:
    pointer = root / "CURRENT"
    if pointer.is_file() and pointer.read_text(encoding="ascii").strip() == version:
        return
    beside = root / f".CURRENT-{uuid.uuid4().hex}"
    beside.write_text(f"{version}\n", encoding="ascii")
    os.replace(beside, pointer)


def _prune(root: Path, newest: str) -> None:
    """Keep the last few versions. A process that still maps a removed one keeps its pages until it lets go."""
    built = [path.parent for path in root.glob("*/manifest.json") if path.parent.name != newest]
    built.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in built[KEEP_VERSIONS - 1 :]:
        shutil.rmtree(folder, ignore_errors=True)


def _as_json(passage: Passage) -> str:
    fields = {name: getattr(passage, name) for name in ("id", "text", "locale", "kind", "embed_as")}
    return json.dumps({**fields, "labels": dict(passage.labels)}, ensure_ascii=True, sort_keys=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
