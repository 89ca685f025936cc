"""This device and the vault's history: is it ours to go on with, and under which name?"""

from collections.abc import Callable
from dataclasses import dataclass

from cryptdrive.clock import Clock, Randomness
from cryptdrive.crypto.certificates import MEMBER_BYTES, Certificate, issue
from cryptdrive.crypto.signatures import SEED_BYTES, public_key_of
from cryptdrive.errors import Invalid, Rollback
from cryptdrive.local.device import Device, Head
from cryptdrive.local.working_map import WorkingMap
from cryptdrive.schema.counters import COUNTER_MAX, Counters
from cryptdrive.schema.keys import device_key, device_range, history_key
from cryptdrive.schema.records import DeviceRecord, encode_device
from cryptdrive.vault.heads import Tip
from cryptdrive.vault.unlocking import UnlockedVault

COUNTER_RESERVE = 1 << 24
"""How far the counters on the store are ahead of those in use: what a crash may have used up
without telling. Published exactly when the drive is closed in order."""


@dataclass(slots=True)
class CounterReserve:
    """How far ahead the next publication puts the counters."""

    count: int = COUNTER_RESERVE


def only_tip(tips: list[Tip]) -> Tip:
    if len(tips) > 1:
        numbers = ", ".join(f"{tip.id.number} ({tip.id.hash.hex()[:12]})" for tip in tips)
        raise Rollback(
            f"the vault's history is forked: there are the commits {numbers}. "
            "This version cannot merge them; nothing was changed"
        )
    return tips[0]


def check_descent(working_map: WorkingMap, tip: Tip, head: Head | None) -> None:
    """Refuse a state that is not this device's last verified one or a descendant of it."""
    if head is None or (head.number == tip.id.number and head.hash == tip.id.hash):
        return
    if tip.id.number > head.number:
        key = history_key(head.number, head.hash)
        if working_map.run(lambda: working_map.get(key)) is not None:
            return
        raise Rollback(
            f"the store shows another history: its commit {tip.id.number} does not descend from "
            f"commit {head.number} ({head.hash.hex()[:12]}), which this device has verified"
        )
    raise Rollback(
        f"the store shows an older state (commit {tip.id.number}) than this device has verified "
        f"(commit {head.number}): it was rolled back or restored from a backup, or part of it is missing"
    )


def enrol(
    unlocked: UnlockedVault,
    taken: set[int],
    clock: Clock,
    randomness: Randomness,
    *,
    temporary: bool = False,
) -> Device:
    """A new device's key, tag and certificate. A ``temporary`` one only reads, and needs none signed."""
    tag = 0
    while not tag or tag in taken:
        tag = int.from_bytes(randomness(3), "big")
    seed, member = randomness(SEED_BYTES), bytes(MEMBER_BYTES)
    owner_seed = unlocked.secrets.owner_seed
    if temporary:
        return Device(seed, tag, member, b"")
    if owner_seed is None:
        raise Invalid("this key opens the vault for reading only: mount it with --read-only")
    epoch = unlocked.keyring().current
    certificate = Certificate(public_key_of(seed), tag, member, epoch, clock.now_ns())
    return Device(seed, tag, member, issue(owner_seed, unlocked.vault_id, certificate))


def taken_tags(working_map: WorkingMap) -> set[int]:
    start, stop = device_range()
    records = working_map.run(lambda: working_map.scan(start, stop, 1 << 24))
    return {int.from_bytes(key[-3:], "big") for key, _ in records}


def device_records(
    device: Device, reserve: CounterReserve
) -> Callable[[Counters], list[tuple[bytes, bytes]]]:
    """What each publication says of this device: its certificate, and where its counters are free."""

    def records(counters: Counters) -> list[tuple[bytes, bytes]]:
        next_inode, next_change = (
            min(counter + reserve.count, COUNTER_MAX)
            for counter in (counters.next_inode, counters.next_change)
        )
        record = DeviceRecord(next_inode, next_change, device.certificate)
        return [(device_key(device.tag), encode_device(record))]

    return records
