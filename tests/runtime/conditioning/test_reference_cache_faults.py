"""The reference cache when things go wrong.

Broken files, crashes, full disks and many users do no harm.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.conditioning import reference_cache, reference_entry
from echoexport.runtime.conditioning.reference_cache import ReferenceCache
from echoexport.runtime.files.staging import lock_path

Reference = dict[str, np.ndarray]
MakeReference = Callable[..., Reference]
Contents = Callable[[Reference | None], Any]
KEY = "ab" * 32
OTHER = "cd" * 32


def test_a_folder_where_an_entry_should_be_is_a_miss_not_a_crash(
    tmp_path: Path, entry_of: Callable[..., Path]
) -> None:
    entry_of(tmp_path).mkdir()
    assert ReferenceCache(tmp_path).get(KEY) is None


def test_a_crash_in_mid_write_leaves_the_old_entry_and_a_part_that_is_cleaned_up_later(
    make_reference: MakeReference, contents: Contents, tmp_path: Path, entry_of: Callable[..., Path]
) -> None:
    ReferenceCache(tmp_path).put(KEY, make_reference(1))
    program = f"""
import os, sys
from pathlib import Path
import numpy as np
from echoexport.runtime.conditioning import reference_cache
def die(file, header, arrays):
    file.write(header)
    file.flush()
    os._exit(7)
reference_cache.write_entry = die
reference_cache.ReferenceCache(Path(sys.argv[1])).put({KEY!r}, {{"a": np.zeros(9)}})
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert done.returncode == 7
    parts = [path for path in tmp_path.iterdir() if path != entry_of(tmp_path)]
    assert len(parts) == 1
    assert contents(ReferenceCache(tmp_path).get(KEY)) == contents(make_reference(1))
    held = lock_path(parts[0])  # as a writer that is still at work
    assert held is not None
    ReferenceCache(tmp_path).put(OTHER, make_reference(2))
    assert parts[0].exists()
    os.close(held)
    ReferenceCache(tmp_path).put(OTHER, make_reference(2))
    assert not parts[0].exists()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_disk_that_takes_no_more_leaves_memory_working_with_one_warning_and_no_part(
    make_reference: MakeReference,
    contents: Contents,
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(file: Any, header: bytes, arrays: object) -> None:
        file.write(header)
        raise OSError(number, os.strerror(number))

    ReferenceCache(tmp_path).put("ef" * 8, make_reference(0))
    monkeypatch.setattr(reference_cache, "write_entry", fail)
    cache = ReferenceCache(tmp_path)
    with pytest.warns(RuntimeWarning, match=f"{os.strerror(number)}.*memory only") as caught:
        cache.put(KEY, make_reference(1))
        cache.put(OTHER, make_reference(2))
    assert len(caught) == 1
    assert contents(cache.get(KEY)) == contents(make_reference(1))
    # What the disk holds is still of use.
    assert contents(cache.get("ef" * 8)) == contents(make_reference(0))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_really_full_device_is_survived_too(make_reference: MakeReference) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    header = reference_entry.encode_header(KEY, make_reference(1))
    with pytest.raises(OSError, match="No space left"), Path("/dev/full").open("wb") as file:
        reference_entry.write_entry(file, header, make_reference(1))


def test_a_folder_that_cannot_be_made_leaves_memory_working_with_one_warning(
    make_reference: MakeReference, contents: Contents, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = ReferenceCache(tmp_path / "file" / "cache")
    with pytest.warns(RuntimeWarning, match="cannot be written") as caught:
        cache.put(KEY, make_reference(1))
        cache.put(OTHER, make_reference(2))
    assert len(caught) == 1
    assert contents(cache.get(OTHER)) == contents(make_reference(2))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_still_serves_what_it_holds(
    make_reference: MakeReference, contents: Contents, tmp_path: Path
) -> None:
    ReferenceCache(tmp_path).put(KEY, make_reference(1))
    tmp_path.chmod(0o500)
    try:
        cache = ReferenceCache(tmp_path)
        with pytest.warns(RuntimeWarning, match="Permission denied"):
            cache.put(OTHER, make_reference(2))
        assert contents(cache.get(KEY)) == contents(make_reference(1))
        assert contents(cache.get(OTHER)) == contents(make_reference(2))
    finally:
        tmp_path.chmod(0o700)


def test_processes_that_write_read_and_evict_at_once_never_see_a_wrong_entry(
    tmp_path: Path,
) -> None:
    program = """
import sys
from pathlib import Path
import numpy as np
from echoexport.runtime.conditioning.reference_cache import ReferenceCache
numbers = np.random.default_rng(int(sys.argv[2]))
found = 0
for _ in range(150):
    n = int(numbers.integers(6))
    cache = ReferenceCache(Path(sys.argv[1]), disk_bytes=4 * 41_000)
    if numbers.random() < 0.5:
        cache.put(f"{n:08x}", {"a": np.full(10_000, n, np.float32)})
    else:
        arrays = cache.get(f"{n:08x}")
        found += arrays is not None
        if arrays is not None and not (arrays["a"] == n).all() or cache.stats.dropped:
            sys.exit(f"wrong entry {n}")
sys.exit(0 if found else "nothing was ever found")
"""
    command = [sys.executable, "-W", "error", "-c", program, str(tmp_path)]
    running = [subprocess.Popen([*command, str(seed)]) for seed in (1, 2)]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    assert all(path.name.endswith(".reference") for path in tmp_path.iterdir())
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4 * 41_000


def test_threads_may_share_one_cache(tmp_path: Path) -> None:
    cache = ReferenceCache(tmp_path, memory_bytes=9000)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for n in np.random.default_rng(seed).integers(5, size=40):
            arrays = cache.get(f"{n:08x}") or cache.put(
                f"{n:08x}", {"a": np.full(1000, n, np.float32)}
            )
            if not (arrays["a"] == n).all():
                wrong.append(int(n))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert cache.stats.hits + cache.stats.misses == 160
