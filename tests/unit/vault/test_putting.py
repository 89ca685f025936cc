"""Putting what must be there: a store's word is not enough."""

import pytest

from cryptdrive.errors import Unavailable
from cryptdrive.types import ObjectName
from cryptdrive.vault.putting import put_once
from tests.support.lying_store import LyingStore

NAME = ObjectName("commits/000000/0000000000000001-ab")


@pytest.mark.parametrize("kept", [0, 0.5])
def test_what_a_store_took_and_has_not_got_is_put_again(kept: float) -> None:
    store = LyingStore("commits/", kept)
    store.lies = 1
    with pytest.raises(Unavailable, match="says that it took"):
        put_once(store, NAME, b"a sealed commit")
    put_once(store, NAME, b"a sealed commit", again=True)
    assert store.get(NAME) == b"a sealed commit"
