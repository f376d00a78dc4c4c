from uuid import UUID

from pydicom.uid import UID

from thoar.io.structures.uids import new_uid


def test_new_uids_are_valid_and_never_repeat() -> None:
    uids = {new_uid(None, "series") for _ in range(20_000)}
    assert len(uids) == 20_000
    assert all(UID(uid).is_valid and uid.startswith("2.25.") for uid in uids)


def test_seeded_uids_never_repeat_for_other_parts() -> None:
    uids = {new_uid("seed", "instance", str(k)) for k in range(20_000)}
    assert len(uids) == 20_000
    assert all(UID(uid).is_valid for uid in uids)


def test_a_seed_and_parts_always_give_the_same_uid() -> None:
    assert new_uid("a", "x", "y") == new_uid("a", "x", "y")
    assert len({new_uid("a", "x", "y"), new_uid("b", "x", "y"), new_uid("a", "xy"), new_uid("a", "x,y")}) == 4


def test_uids_are_uuids_of_their_kind() -> None:
    assert UUID(int=int(new_uid(None).removeprefix("2.25."))).version == 4
    assert UUID(int=int(new_uid("seed").removeprefix("2.25."))).version == 5
