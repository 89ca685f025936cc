"""A folder of this machine as store: every object one file, written whole before it has its name."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from cryptdrive.clock import Randomness, system_randomness
from cryptdrive.errors import (
    ObjectExists,
    ObjectNotFound,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreRefused,
    Unavailable,
)
from cryptdrive.store.base import Capabilities, Listing, ObjectInfo
from cryptdrive.store.names import check_folder_name, check_object_name, check_range, is_part
from cryptdrive.store.system_calls import links_are_exclusive, rename_without_replacing
from cryptdrive.types import ObjectName

TEMPORARY_PREFIX = ".tmp-"
TEMPORARY_AGE_S_MAX = 24 * 3600
"""A temporary file older than that belongs to a writer that is gone."""

_folder_flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_cannot_link = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS})
_cannot_link_from_elsewhere = _cannot_link | {errno.EXDEV, errno.EMLINK}
_cannot_rename_exclusively = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})
_cannot_sync_folder = frozenset({errno.EINVAL, errno.ENOTSUP})


class FolderStore:
    """Keeps objects below one folder, whose descriptor it holds.

    Objects go through the descriptor, and only as long as the path leads to the same folder: if a disk
    is detached under us, nothing is ever written into the empty folder that it was mounted on, nor
    into one that was moved away. A put returns when the file and every folder above it are on disk.
    """

    def __init__(self, path: str | os.PathLike[str], *, randomness: Randomness = system_randomness) -> None:
        """Raises Unavailable where the folder is missing, StoreRefused where it may not be entered."""
        self._path = os.path.abspath(path)
        self._randomness = randomness
        self._top = -1
        with self._translated("", missing=Unavailable):
            self._top = os.open(self._path, _folder_flags)
        self._capabilities = Capabilities(links_are_exclusive(self._top), local_path=self._path)
        self._durable: set[str] = set()
        """Folders whose entry in their parent, and so on up to the top, is known to be on disk."""

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> Self:
        """The same, after making the folder and its parents where they are missing, 0700."""
        top = Path(os.path.abspath(path))
        missing = [folder for folder in (top, *top.parents) if not folder.exists()]
        for folder in reversed(missing):
            try:
                folder.mkdir(mode=0o700, exist_ok=True)
                _sync_folder_at(folder.parent)
            except OSError as error:
                raise translate(error, str(folder), missing=Unavailable) from error
        return cls(top)

    @property
    def url(self) -> str:
        return Path(self._path).as_uri()

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def put(self, name: ObjectName, data: bytes | bytearray | memoryview, *, exclusive: bool = False) -> None:
        check_object_name(name)
        folder, _, base = name.rpartition("/")
        with self._translated(name, missing=Unavailable), self._opened_folder(folder, create=True) as parent:
            temporary = TEMPORARY_PREFIX + self._randomness(12).hex()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(temporary, flags, 0o600, dir_fd=parent)
            try:
                _write_all(file, data)
                os.fsync(file)
                if exclusive:
                    self._name_exclusively(temporary, base, parent, file)
                else:
                    os.rename(temporary, base, src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException:
                _remove_temporary(temporary, parent)
                raise
            finally:
                os.close(file)
            _sync_folder(parent)
            self._make_durable(folder)

    def take_file(self, name: ObjectName, path: str) -> bool:
        """See :class:`cryptdrive.store.base.TakesFiles`: by a hard link; False on another file system."""
        check_object_name(name)
        folder, _, base = name.rpartition("/")
        with self._translated(name, missing=Unavailable), self._opened_folder(folder, create=True) as parent:
            temporary = TEMPORARY_PREFIX + self._randomness(12).hex()
            try:
                os.link(path, temporary, dst_dir_fd=parent, follow_symlinks=False)
            except OSError as error:
                if error.errno in _cannot_link_from_elsewhere:
                    return False
                raise
            try:
                # Renaming one name of a file over another one of it does nothing: a second try ends here.
                os.rename(temporary, base, src_dir_fd=parent, dst_dir_fd=parent)
            finally:
                _remove_temporary(temporary, parent)
            _sync_folder(parent)
            self._make_durable(folder)
        return True

    def get(self, name: ObjectName, offset: int = 0, length: int | None = None) -> bytes:
        check_object_name(name)
        check_range(offset, length)
        with self._translated(name), self._opened_object(name) as (file, status):
            self._check_regular(name, status)
            rest = max(0, status.st_size - offset)
            return _read_all(file, offset, rest if length is None else min(length, rest))

    def list(self, folder: str) -> Listing:
        check_folder_name(folder)
        prefix = f"{folder}/" if folder else ""
        objects, folders = [], []
        try:
            with (
                self._translated(folder),
                self._opened_folder(folder) as opened,
                os.scandir(opened) as entries,
            ):
                for entry in entries:
                    if not is_part(entry.name):  # a temporary file, or not ours
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(prefix + entry.name)
                    elif entry.is_file(follow_symlinks=False):
                        with contextlib.suppress(FileNotFoundError):  # deleted while we look
                            size = entry.stat(follow_symlinks=False).st_size
                            objects.append(ObjectInfo(ObjectName(prefix + entry.name), size))
        except ObjectNotFound:
            return Listing((), ())
        return Listing(tuple(sorted(objects, key=lambda info: info.name)), tuple(sorted(folders)))

    def delete(self, name: ObjectName) -> None:
        check_object_name(name)
        folder, _, base = name.rpartition("/")
        with (
            contextlib.suppress(ObjectNotFound),
            self._translated(name),
            self._opened_folder(folder) as parent,
        ):
            os.unlink(base, dir_fd=parent)

    def stat(self, name: ObjectName) -> ObjectInfo:
        check_object_name(name)
        folder, _, base = name.rpartition("/")
        with self._translated(name), self._opened_folder(folder) as parent:
            status = os.stat(base, dir_fd=parent, follow_symlinks=False)
        self._check_regular(name, status)
        return ObjectInfo(name, status.st_size)

    def close(self) -> None:
        top, self._top = self._top, -1
        if top >= 0:
            os.close(top)

    # --- naming a written file ---------------------------------------------------------------

    def _name_exclusively(self, temporary: str, base: str, parent: int, file: int) -> None:
        """Raises FileExistsError if another object has the name, and not this one."""
        try:
            os.link(temporary, base, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
            linked = True
        except OSError as error:
            # NFS repeats a request whose answer was lost, and then meets the link it made itself.
            linked = _is_same_file(base, parent, file)
            if not linked and error.errno not in _cannot_link:
                raise
        if linked:
            _remove_temporary(temporary, parent)
            return
        try:
            rename_without_replacing(temporary, base, parent)
            return
        except OSError as error:
            if error.errno not in _cannot_rename_exclusively:
                raise
        if self._capabilities.create_if_absent:
            raise StoreRefused(f"{self._path}: this file system cannot create a file exclusively")
        # Not atomic, and declared so: whoever races here has no promise.
        if _exists(base, parent):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        os.rename(temporary, base, src_dir_fd=parent, dst_dir_fd=parent)

    # --- folders -----------------------------------------------------------------------------

    @contextmanager
    def _opened_folder(self, folder: str, *, create: bool = False) -> Iterator[int]:
        """A descriptor of a folder, reached without following a symbolic link; OSError where it cannot be."""
        # Not a duplicate of the descriptor: that would share its position, and two listings would mix.
        opened = os.open(".", _folder_flags, dir_fd=self._top)
        try:
            if self._is_gone():  # it can still be opened, and what is put there nobody would find
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            path = ""
            for part in folder.split("/") if folder else ():
                path = f"{path}/{part}" if path else part
                inner = self._open_part(opened, part, path if create else None)
                os.close(opened)
                opened = inner
            yield opened
        finally:
            os.close(opened)

    def _open_part(self, parent: int, part: str, path_to_create: str | None) -> int:
        flags = _folder_flags | os.O_NOFOLLOW
        try:
            return os.open(part, flags, dir_fd=parent)
        except FileNotFoundError:
            if path_to_create is None:
                raise
        with contextlib.suppress(FileExistsError):  # another thread was faster
            os.mkdir(part, 0o700, dir_fd=parent)
            self._durable.discard(path_to_create)  # somebody had removed it
        return os.open(part, flags, dir_fd=parent)

    @contextmanager
    def _opened_object(self, name: ObjectName) -> Iterator[tuple[int, os.stat_result]]:
        folder, _, base = name.rpartition("/")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        with self._opened_folder(folder) as parent:
            file = os.open(base, flags, dir_fd=parent)
        try:
            yield file, os.fstat(file)
        finally:
            os.close(file)

    def _make_durable(self, folder: str) -> None:
        """Sync the folders above ``folder`` whose entry for it may not be on disk yet.

        It may not be even for a folder that was there: another thread can have made it just before.
        What a listing shows before a sync is on disk after it, so that one sync serves all siblings.
        """
        synced: set[str] = set()
        while folder not in self._durable:
            with self._opened_folder(folder) as opened:
                _sweep(opened)
            if not folder:
                synced.add("")
                break
            parent, _, _ = folder.rpartition("/")
            prefix = f"{parent}/" if parent else ""
            with self._opened_folder(parent) as opened:
                synced.update(prefix + name for name in os.listdir(opened))
                _sync_folder(opened)
            folder = parent
        self._durable |= synced  # not before all above is on disk: others rely on it at once

    # --- errors ------------------------------------------------------------------------------

    def _place(self, name: str) -> str:
        return os.path.join(self._path, name) if name else self._path

    def _check_regular(self, name: str, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise Unavailable(f"{self._place(name)}: is not a regular file")

    @contextmanager
    def _translated(self, name: str, *, missing: type[StoreError] = ObjectNotFound) -> Iterator[None]:
        """OSError → StoreError; what is not there is ``missing``, unless the top folder itself is gone."""
        try:
            yield
        except OSError as error:
            if error.errno == errno.ENOENT and self._is_gone():
                raise Unavailable(f"{self._path}: the folder is gone; is its disk still there?") from error
            raise translate(error, self._place(name), missing) from error

    def _is_gone(self) -> bool:
        """Whether the path does not lead to this folder any more: moved, removed, or its disk detached."""
        try:
            top = os.fstat(self._top)
        except OSError:  # not open yet, or closed
            return False
        try:
            return not top.st_nlink or not os.path.samestat(top, os.stat(self._path))
        except OSError:
            return True


def translate(error: OSError, place: str, missing: type[StoreError]) -> StoreError:
    """The typed error for what the system said about ``place``."""
    match error.errno:
        case errno.EEXIST:
            kind: type[StoreError] = ObjectExists
        case errno.ENOENT:
            kind = missing
        case errno.ENOSPC | errno.EDQUOT:
            kind = StoreFull
        case errno.EROFS:
            kind = StoreReadOnly
        case errno.EACCES | errno.EPERM:
            kind = StoreRefused
        case _:
            kind = Unavailable
    return kind(f"{place}: {error.strerror or error}")


def _write_all(file: int, data: bytes | bytearray | memoryview) -> None:
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[os.write(file, rest) :]


def _read_all(file: int, offset: int, length: int) -> bytes:
    """``length`` bytes, or fewer where the file was cut meanwhile."""
    content = os.pread(file, length, offset)
    while len(content) < length:
        more = os.pread(file, length - len(content), offset + len(content))
        if not more:
            break
        content += more
    return content


def _is_same_file(name: str, folder: int, file: int) -> bool:
    try:
        return os.path.samestat(os.stat(name, dir_fd=folder, follow_symlinks=False), os.fstat(file))
    except OSError:
        return False


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _remove_temporary(name: str, folder: int) -> None:
    with contextlib.suppress(OSError):  # one that stays is swept later
        os.unlink(name, dir_fd=folder)


def _sync_folder(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _cannot_sync_folder:
            raise


def _sync_folder_at(path: Path) -> None:
    folder = os.open(path, _folder_flags)
    try:
        _sync_folder(folder)
    finally:
        os.close(folder)


def _sweep(folder: int) -> None:
    """Remove temporary files of writers that are gone, as the file system's own clock tells."""
    now = os.fstat(folder).st_mtime  # a put has just changed it
    for name in os.listdir(folder):
        if name.startswith(TEMPORARY_PREFIX):
            with contextlib.suppress(OSError):
                if now - os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime > TEMPORARY_AGE_S_MAX:
                    os.unlink(name, dir_fd=folder)
