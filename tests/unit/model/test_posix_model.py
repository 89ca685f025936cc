"""What the model does where Linux cannot be asked by path: handles, listings, uploads, copies, events."""

import os
import stat

import pytest

from cryptdrive import errors
from cryptdrive.types import ROOT_INODE, HandleId, InodeNumber
from cryptdrive.vfs.values import NOW, Attr, Caller, Event, EventKind, RenameFlags, SetAttr, XattrFlags
from tests.model.clock import ManualClock
from tests.model.posix import PosixModel

CALLER = Caller(1000, 1000, "cli")
FILE_SIZE_MAX = (1 << 63) - 1


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def model(clock: ManualClock) -> PosixModel:
    return PosixModel(clock)


def _file(model: PosixModel, name: bytes, content: bytes = b"", parent: InodeNumber = ROOT_INODE) -> Attr:
    handle, attr = model.create(parent, name, 0o644, os.O_WRONLY, CALLER)
    model.write(handle, 0, content)
    model.close(handle)
    return model.getattr(attr.inode)


def _content(model: PosixModel, inode: InodeNumber) -> bytes:
    handle = model.open(inode, os.O_RDONLY, CALLER)
    content = model.read(handle, 0, 1 << 20)
    model.close(handle)
    return content


def _names(model: PosixModel, inode: InodeNumber = ROOT_INODE) -> list[bytes]:
    handle = model.opendir(inode)
    names = [entry.name for entry in model.readdir(handle)]
    model.closedir(handle)
    return names


def test_an_unlinked_file_lives_while_it_is_open(model: PosixModel) -> None:
    attr = _file(model, b"f", b"content")
    handle = model.open(attr.inode, os.O_RDWR, CALLER)
    model.unlink(ROOT_INODE, b"f", CALLER)
    assert model.read(handle, 0, 100) == b"content"
    assert model.getattr(attr.inode).nlink == 0
    model.close(handle)
    with pytest.raises(errors.Stale):
        model.getattr(attr.inode)


def test_an_unlinked_file_lives_while_the_kernel_knows_it(model: PosixModel) -> None:
    attr = _file(model, b"f")
    model.retain(attr.inode, 2)
    model.unlink(ROOT_INODE, b"f", CALLER)
    model.release(attr.inode)
    assert model.getattr(attr.inode).nlink == 0
    with pytest.raises(errors.NotFound):
        model.link(attr.inode, ROOT_INODE, b"again", CALLER)
    model.release(attr.inode)
    with pytest.raises(errors.Stale):
        model.getattr(attr.inode)


def test_a_removed_directory_takes_no_entries(model: PosixModel) -> None:
    inode = model.mkdir(ROOT_INODE, b"d", 0o755, CALLER).inode
    model.retain(inode)
    model.rmdir(ROOT_INODE, b"d", CALLER)
    for make in (
        lambda: model.create(inode, b"f", 0o644, os.O_WRONLY, CALLER),
        lambda: model.mkdir(inode, b"f", 0o755, CALLER),
        lambda: model.symlink(inode, b"f", b"target", CALLER),
    ):
        with pytest.raises(errors.NotFound):
            make()


def test_a_handle_works_in_its_direction_only(model: PosixModel) -> None:
    attr = _file(model, b"f", b"content")
    reading, writing = (
        model.open(attr.inode, os.O_RDONLY, CALLER),
        model.open(attr.inode, os.O_WRONLY, CALLER),
    )
    with pytest.raises(errors.BadHandle):
        model.write(reading, 0, b"x")
    with pytest.raises(errors.BadHandle):
        model.read(writing, 0, 1)
    with pytest.raises(errors.BadHandle):
        model.readdir(reading)
    model.close(reading)
    with pytest.raises(errors.BadHandle):
        model.read(reading, 0, 1)


def test_holes_read_as_zeros_and_cost_nothing(model: PosixModel) -> None:
    handle, attr = model.create(ROOT_INODE, b"f", 0o644, os.O_RDWR, CALLER)
    model.write(handle, 1 << 52, b"end")
    assert model.read(handle, (1 << 52) - 2, 100) == b"\0\0end"
    assert model.getattr(attr.inode).size == (1 << 52) + 3
    assert model.getattr(attr.inode).allocated < 10_000


def test_what_was_cut_off_comes_back_as_zeros(model: PosixModel) -> None:
    attr = _file(model, b"f", b"0123456789")
    model.setattr(attr.inode, SetAttr(size=4), CALLER)
    model.setattr(attr.inode, SetAttr(size=8), CALLER)
    assert _content(model, attr.inode) == b"0123\0\0\0\0"


def test_files_end_at_the_limit(model: PosixModel) -> None:
    handle, attr = model.create(ROOT_INODE, b"f", 0o644, os.O_RDWR, CALLER)
    assert model.setattr(attr.inode, SetAttr(size=FILE_SIZE_MAX), CALLER).size == FILE_SIZE_MAX
    assert model.write(handle, FILE_SIZE_MAX - 1, b"x") == 1
    with pytest.raises(errors.TooBig):
        model.write(handle, FILE_SIZE_MAX, b"x")
    with pytest.raises(errors.TooBig):
        model.setattr(attr.inode, SetAttr(size=FILE_SIZE_MAX + 1), CALLER)


def test_times_are_set_as_asked(model: PosixModel, clock: ManualClock) -> None:
    attr = _file(model, b"f")
    clock.advance()
    after = model.setattr(attr.inode, SetAttr(atime_ns=-5, mtime_ns=NOW), CALLER)
    assert (after.atime_ns, after.mtime_ns, after.ctime_ns) == (-5, clock.now_ns(), clock.now_ns())
    assert after.btime_ns == attr.btime_ns


def test_change_grows_with_every_change(model: PosixModel) -> None:
    attr = _file(model, b"f")
    changes = [attr.change]
    for change in (SetAttr(mode=0o600), SetAttr(size=3), SetAttr(mtime_ns=NOW)):
        changes.append(model.setattr(attr.inode, change, CALLER).change)
    model.setxattr(attr.inode, b"user.x", b"1", XattrFlags.NONE, CALLER)
    changes.append(model.getattr(attr.inode).change)
    assert changes == sorted(set(changes))


def test_a_listing_shows_once_what_stays(model: PosixModel) -> None:
    expected = {b"%d" % number for number in range(600)}
    for name in sorted(expected):
        model.mknod(ROOT_INODE, name, stat.S_IFREG | 0o644, 0, CALLER)
    handle = model.opendir(ROOT_INODE)
    seen: list[bytes] = []
    cookie = 0
    while entries := model.readdir(handle, cookie):
        cookie = entries[-1].cookie
        seen += [entry.name for entry in entries]
        model.unlink(ROOT_INODE, entries[0].name, CALLER)
        if len(entries) > 1:
            moved = entries[1].name
            model.rename(ROOT_INODE, moved, ROOT_INODE, moved + b"moved", RenameFlags.NONE, CALLER)
    stayed = set(_names_all(model)) & expected
    assert all(seen.count(name) == 1 for name in stayed)


def _names_all(model: PosixModel) -> list[bytes]:
    handle, cookie, names = model.opendir(ROOT_INODE), 0, []
    while entries := model.readdir(handle, cookie):
        cookie = entries[-1].cookie
        names += [entry.name for entry in entries]
    return names


def test_xattr_limits(model: PosixModel) -> None:
    inode = _file(model, b"f").inode
    refused: list[tuple[bytes, bytes, XattrFlags, type[errors.FileError]]] = [
        (b"system.posix_acl_access", b"", XattrFlags.NONE, errors.Unsupported),
        (b"other", b"", XattrFlags.NONE, errors.Unsupported),
        (b"user." + b"n" * 251, b"", XattrFlags.NONE, errors.OutOfRange),
        (b"user.x", b"v" * 65537, XattrFlags.NONE, errors.TooBig),
        (b"user.x", b"", XattrFlags.REPLACE, errors.NoAttribute),
    ]
    for name, value, flags, error in refused:
        with pytest.raises(error):
            model.setxattr(inode, name, value, flags, CALLER)
    model.setxattr(inode, b"user." + b"n" * 250, b"v" * 65536, XattrFlags.CREATE, CALLER)
    model.setxattr(inode, b"trusted.x", b"", XattrFlags.NONE, CALLER)
    assert model.listxattr(inode) == [b"trusted.x", b"user." + b"n" * 250]


def test_publish_takes_the_place_and_keeps_what_the_old_file_was(model: PosixModel) -> None:
    old = _file(model, b"f", b"old")
    model.setattr(old.inode, SetAttr(mode=0o600, uid=7, gid=8), CALLER)
    model.setxattr(old.inode, b"user.x", b"dead property", XattrFlags.NONE, CALLER)
    reader = model.open(old.inode, os.O_RDONLY, CALLER)
    stage = model.stage(0o644, CALLER)
    model.write(stage, 0, b"new content")
    assert _names(model) == [b"f"] and _content(model, old.inode) == b"old"
    with pytest.raises(errors.Exists):
        model.publish(stage, ROOT_INODE, b"f", False, CALLER)
    new = model.publish(stage, ROOT_INODE, b"f", True, CALLER)
    assert new.inode != old.inode and (new.mode & 0o777, new.uid, new.gid) == (0o600, 7, 8)
    assert _content(model, new.inode) == b"new content"
    assert model.getxattr(new.inode, b"user.x") == b"dead property"
    assert model.read(reader, 0, 10) == b"old"
    with pytest.raises(errors.BadHandle):
        model.write(stage, 0, b"x")


def test_a_stage_that_is_closed_leaves_nothing(model: PosixModel) -> None:
    before = model.statfs()
    stage = model.stage(0o644, CALLER)
    model.write(stage, 0, b"upload that broke off")
    model.close(stage)
    assert model.statfs() == before


def test_a_copied_tree_is_its_own(model: PosixModel) -> None:
    directory = model.mkdir(ROOT_INODE, b"d", 0o750, CALLER).inode
    inside = _file(model, b"f", b"content", directory)
    model.mkdir(directory, b"sub", 0o755, CALLER)
    model.symlink(directory, b"s", b"f", CALLER)
    copy = model.clone(directory, ROOT_INODE, b"copy", False, CALLER)
    assert (copy.nlink, model.getattr(ROOT_INODE).nlink) == (3, 4)
    assert sorted(_names(model, copy.inode)) == [b"f", b"s", b"sub"]
    writer = model.open(inside.inode, os.O_WRONLY, CALLER)
    model.write(writer, 0, b"CHANGED")
    assert _content(model, model.resolve(b"copy/f").inode) == b"content"
    with pytest.raises(errors.Invalid):
        model.clone(directory, model.resolve(b"d/sub").inode, b"x", False, CALLER)


def test_remove_tree_leaves_other_names(model: PosixModel) -> None:
    directory = model.mkdir(ROOT_INODE, b"d", 0o755, CALLER).inode
    attr = _file(model, b"f", b"content", directory)
    model.link(attr.inode, ROOT_INODE, b"other", CALLER)
    model.remove_tree(ROOT_INODE, b"d", CALLER)
    assert _names(model) == [b"other"]
    assert model.getattr(attr.inode).nlink == 1
    assert model.getattr(ROOT_INODE).nlink == 2


def test_resolve(model: PosixModel) -> None:
    directory = model.mkdir(ROOT_INODE, b"d", 0o755, CALLER).inode
    inside = _file(model, b"f", b"content", directory)
    model.symlink(ROOT_INODE, b"s", b"d", CALLER)
    model.symlink(ROOT_INODE, b"loop", b"loop", CALLER)
    assert model.resolve(b"//d/./../d/f") == inside
    assert model.resolve(b"/s/f", follow=True) == inside
    assert stat.S_ISLNK(model.resolve(b"s").mode)
    with pytest.raises(errors.NotADirectory):
        model.resolve(b"s/f")
    with pytest.raises(errors.TooManyLevels):
        model.resolve(b"loop", follow=True)
    assert model.parent_of(b"/d/new/") == (model.getattr(directory), b"new")
    with pytest.raises(errors.NotFound):
        model.parent_of(b"missing/new")


def test_events_name_what_changed_and_who_did_it(model: PosixModel) -> None:
    events: list[Event] = []
    unsubscribe = model.subscribe(events.append)
    attr = _file(model, b"f", b"x")
    model.setattr(attr.inode, SetAttr(mode=0o600), CALLER)
    unsubscribe()
    model.unlink(ROOT_INODE, b"f", CALLER)
    assert events == [
        Event(EventKind.ENTRY, ROOT_INODE, b"f", "cli"),
        Event(EventKind.CONTENT, attr.inode, origin="cli"),
        Event(EventKind.ATTRIBUTES, attr.inode, origin="cli"),
    ]


def test_read_only_changes_nothing(clock: ManualClock) -> None:
    model = PosixModel(clock, read_only=True)
    for change in (
        lambda: model.create(ROOT_INODE, b"f", 0o644, os.O_WRONLY, CALLER),
        lambda: model.mkdir(ROOT_INODE, b"f", 0o755, CALLER),
        lambda: model.unlink(ROOT_INODE, b"f", CALLER),
        lambda: model.setattr(ROOT_INODE, SetAttr(mode=0), CALLER),
        lambda: model.stage(0o644, CALLER),
        lambda: model.setxattr(ROOT_INODE, b"user.x", b"", XattrFlags.NONE, CALLER),
    ):
        with pytest.raises(errors.ReadOnly):
            change()
    assert model.getattr(ROOT_INODE).change == 1


def test_an_unknown_handle_is_bad(model: PosixModel) -> None:
    with pytest.raises(errors.BadHandle):
        model.flush(HandleId(77))
