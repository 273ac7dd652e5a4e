"""One owner at a time, whoever dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from twinreel.errors import OutputError
from twinreel.extract import claims as module
from twinreel.extract.claims import Claims


def _age(claims: Claims, seconds: float) -> None:
    """Make all that this owner holds look untouched for a while."""
    then = time.time() - seconds
    for path in [claims._card, *claims._held]:
        os.utime(path, (then, then))


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    with Claims(tmp_path) as a, Claims(tmp_path) as b:
        held = a.take("x")
        assert held is not None and b.take("x") is None and a.take("x") is None
        assert b.take("y") is not None
        assert a.holds(held)
        a.release(held)
        assert b.take("x") is not None
    assert not any(tmp_path.iterdir()), "closing gives everything back"


def test_a_silent_owner_is_taken_over_and_notices(tmp_path: Path) -> None:
    with Claims(tmp_path, lease_s=50) as slow, Claims(tmp_path, lease_s=50) as other:
        first = slow.take("x")
        assert first is not None
        _age(slow, 40)
        assert other.take("x") is None, "within the lease"
        _age(slow, 60)
        second = other.take("x")
        assert second is not None and second.generation == 1
        assert other.holds(second) and not slow.holds(first)
        slow.release(first)
        assert other.holds(second), "the loser removes nothing of the winner's"
        other.release(second)
        assert slow.take("x") is not None


def test_the_lease_is_the_owners(tmp_path: Path) -> None:
    """Whose heart beats slowly is not dead because another is in haste."""
    with Claims(tmp_path, lease_s=60) as slow, Claims(tmp_path, lease_s=10) as hasty:
        held = slow.take("x")
        assert held is not None
        _age(slow, 20)
        assert hasty.take("x") is None and not hasty.ended(slow.owner)
        hasty.sweep()
        assert slow.holds(held) and slow._card.exists()


def test_an_owner_whose_card_was_swept_away_goes_on(tmp_path: Path) -> None:
    with Claims(tmp_path) as slept, Claims(tmp_path) as other:
        slept._card.unlink()
        held = slept.take("x")
        assert held is not None and slept.holds(held) and other.take("x") is None


def test_the_heartbeat_keeps_a_claim(tmp_path: Path) -> None:
    with Claims(tmp_path, lease_s=0.8) as a, Claims(tmp_path, lease_s=0.8) as b:
        assert a.take("x") is not None
        for _ in range(5):
            time.sleep(0.4)
            assert b.take("x") is None


def test_a_dead_process_of_this_machine_is_known_at_once(tmp_path: Path) -> None:
    code = (
        "import os; from pathlib import Path; from twinreel.extract.claims import Claims;"
        f"Claims(Path({str(tmp_path)!r})).take('x'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=_env())
    with Claims(tmp_path, lease_s=3600) as claims:
        claim = claims.take("x")
        assert claim is not None and claim.generation == 1


def test_a_dead_process_of_another_machine_has_its_lease(tmp_path: Path) -> None:
    with Claims(tmp_path, lease_s=3600) as claims:
        claim = claims.take("x")
        assert claim is not None
        card = json.loads(claim.path.read_text())
        claim.path.write_text(json.dumps({**card, "machine": "elsewhere", "pid": 1, "birth": "1"}))
        assert claims.take("x") is None


def test_of_many_that_try_one_wins(tmp_path: Path) -> None:
    with Claims(tmp_path, lease_s=50) as dead:
        for name in map(str, range(20)):
            dead.take(name)
        _age(dead, 60)
        many = [Claims(tmp_path, lease_s=50) for _ in range(4)]
        wins: list[str] = []

        def grab(claims: Claims) -> None:
            wins.extend(n for n in map(str, range(40)) if claims.take(n))

        threads = [threading.Thread(target=grab, args=(c,)) for c in many]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(wins, key=int) == [str(n) for n in range(40)]
        for claims in many:
            claims.close()


def test_what_a_killed_release_leaves_blocks_nobody(tmp_path: Path) -> None:
    with Claims(tmp_path, lease_s=50) as dead, Claims(tmp_path, lease_s=50) as claims:
        first = dead.take("x")
        assert first is not None
        _age(dead, 60)
        second = claims.take("x")
        assert second is not None and second.generation == 1
        first.path.unlink()  # the oldest generation is removed first; then comes the kill
        claims._held.clear()
        os.utime(claims._card, (time.time() - 60,) * 2)
        with Claims(tmp_path, lease_s=50) as third:
            claim = third.take("x")
            assert claim is not None and third.holds(claim)


def test_sweeping_takes_only_what_is_stale(tmp_path: Path) -> None:
    with Claims(tmp_path, lease_s=50) as dead, Claims(tmp_path, lease_s=50) as claims:
        dead.take("x")
        _age(dead, 60)
        live = claims.take("y")
        claims.sweep()
        assert live is not None
        names = {p.name for p in tmp_path.iterdir()}
        assert names == {live.path.name, claims._card.name}


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(module.errno.EPERM, "no links here")

    monkeypatch.setattr(module.os, "link", refuse)
    with Claims(tmp_path) as a, Claims(tmp_path) as b:
        held = a.take("x")
        assert held is not None and a.holds(held) and b.take("x") is None


def test_a_lost_disk_is_one_message(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OutputError, match="must be writable"):
        Claims(file / "claims")


def _env() -> dict[str, str]:
    source = str(Path(module.__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": source}
