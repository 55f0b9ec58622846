"""The two stores: bounded, shared, never a wrong or half value."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from schedopt.disk import DiskStore
from schedopt.store import Store


def block(value: float, nbytes: int = 12) -> Tensor:
    return torch.full((nbytes // 4,), float(value))


def test_store_drops_what_was_unused_for_longest() -> None:
    store = Store(budget=24)
    store.put("a", block(1))
    store.put("b", block(2))
    assert store.get("a") is not None
    store.put("c", block(3))
    assert "b" not in store
    assert store.nbytes == 24
    store.put("huge", block(4, 100))
    assert "huge" not in store
    assert len(store) == 2
    store.put("a", block(5, 4))
    assert store.nbytes == 16


def test_what_is_kept_of_a_batch_is_not_the_batch(tmp_path: Path) -> None:
    """Views of a batch kept all of it: two values of 1.4 MB took 22.6 MB on disk."""
    batch = torch.randn(16, 2, 1000)
    store = Store(budget=20_000, disk=DiskStore(tmp_path, 10**6))
    for number in range(2):
        store.put(number, batch[number], lasting=True)
        kept = store.get(number)
        assert kept is not None
        assert kept.untyped_storage().nbytes() == kept.nbytes == 8000
    assert size(tmp_path) < 2 * 10_000


def test_disk_serves_other_stores_with_lasting_values_only(tmp_path: Path) -> None:
    audio = torch.randn(2, 100)
    one = Store(disk=DiskStore(tmp_path, 10**6))
    one.put(("x", 1), audio, lasting=True)
    one.put(("x", 2), audio)
    other = Store(disk=DiskStore(tmp_path, 10**6))
    found = other.get(("x", 1), lasting=True)
    assert found is not None
    assert torch.equal(found, audio)
    assert ("x", 1) in other
    assert other.get(("x", 2), lasting=True) is None
    assert other.get(("y", 1), lasting=True) is None


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("output.pkl"))


def test_disk_keeps_within_its_budget(tmp_path: Path) -> None:
    disk = DiskStore(tmp_path, 400_000)
    for key in range(30):
        disk.put(key, torch.zeros(10_000), 40_000)
        assert size(tmp_path) < 1.3 * 400_000
    assert disk.get(29) is not None


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:100],
        lambda content: b"",
        lambda content: content[: len(content) // 2] + bytes(len(content) - len(content) // 2),
        lambda content: content[:2000] + b"\xff" * 64 + content[2064:],
        lambda content: content[:-20] + bytes(20),
    ],
    ids=["cut off", "empty", "half zero", "64 bytes", "end"],
)
def test_a_damaged_value_is_a_miss_and_makes_room(
    damage: Callable[[bytes], bytes], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    disk = DiskStore(tmp_path, 10**6)
    disk.put("k", torch.ones(1000), 4000)
    (value,) = tmp_path.rglob("output.pkl")
    value.write_bytes(damage(value.read_bytes()))
    other = DiskStore(tmp_path, 10**6)
    assert other.get("k") is None
    other.put("k", torch.full((3,), 2.0), 12)
    found = DiskStore(tmp_path, 10**6).get("k")
    assert torch.equal(found, torch.full((3,), 2.0))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("place", ["file", "file/cache"])
def test_a_folder_that_cannot_be_used_is_said_once(
    place: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    disk = DiskStore(tmp_path / place, 10**6)
    for key in range(3):
        disk.put(key, torch.ones(3), 12)
        assert disk.get(key) is None
    assert sum("not kept on disk" in record.message for record in caplog.records) == 1


WRITER = """
import sys, itertools, torch
from pathlib import Path
from schedopt.disk import DiskStore
disk = DiskStore(Path(sys.argv[1]), 10**9)
print("ready", flush=True)
for key in itertools.count():
    disk.put(key, torch.full((200_000,), float(key)), 800_000)
"""


def test_a_writer_that_is_killed_leaves_no_wrong_value(tmp_path: Path) -> None:
    for wait in (0.05, 0.15, 0.3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(wait)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    disk = DiskStore(tmp_path, 10**9)
    values = [disk.get(key) for key in range(500)]
    assert values[0] is not None
    assert all(torch.equal(v, torch.full((200_000,), float(k))) for k, v in enumerate(values) if v is not None)
