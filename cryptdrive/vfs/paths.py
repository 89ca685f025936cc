"""From paths to inodes."""

from cryptdrive.errors import Invalid, NameTooLong, NotADirectory, TooManyLevels
from cryptdrive.objects.reader import BlobReader
from cryptdrive.objects.ref import Ref
from cryptdrive.types import ROOT_INODE, InodeNumber
from cryptdrive.vfs.core import Core
from cryptdrive.vfs.namespace import Namespace
from cryptdrive.vfs.values import Attr

PATH_BYTES_MAX = 65536
LINKS_FOLLOWED_MAX = 40


class Paths:
    """Resolves paths from the root. Symbolic links are followed within the drive only."""

    def __init__(self, core: Core, namespace: Namespace, reader: BlobReader) -> None:
        self._core = core
        self._namespace = namespace
        self._reader = reader

    def readlink(self, number: InodeNumber) -> bytes:
        """Raises Invalid for what is not a symbolic link."""
        core = self._core

        def operation() -> bytes | Ref:
            target = core.inode(number).target
            if target is None:
                raise Invalid("not a symbolic link")
            return target

        target = core.read(operation)
        return self._reader.read(target, 0, target.length) if isinstance(target, Ref) else target

    def resolve(self, path: bytes, follow: bool) -> Attr:
        """See FileSystem.resolve."""
        if len(path) > PATH_BYTES_MAX:
            raise NameTooLong(f"a path has at most {PATH_BYTES_MAX} bytes")
        return self._walk(self._root(), path, follow, follow)

    def _root(self) -> Attr:
        return self._core.read(lambda: self._core.attr(self._core.inode(ROOT_INODE)))

    def resolve_in(self, directory: InodeNumber, path: bytes) -> Attr:
        """See FileSystem.resolve_in."""
        attr = self._core.read(lambda: self._core.attr(self._core.inode(directory)))
        return self._walk(attr, path, True, True)

    def parent_of(self, path: bytes) -> tuple[Attr, bytes]:
        """See FileSystem.parent_of."""
        folder, _, name = path.rstrip(b"/").rpartition(b"/")
        if not name:
            raise Invalid("the root has no name")
        parent = self.resolve(folder, False)
        if not parent.mode & 0o170000 == 0o040000:
            raise NotADirectory("not a directory")
        return parent, name

    def _walk(self, attr: Attr, path: bytes, follow: bool, follow_last: bool) -> Attr:
        parts = [part for part in path.split(b"/") if part and part != b"."]
        parts.reverse()
        followed = 0
        while parts:
            part = parts.pop()
            parent = attr
            attr = self._namespace.lookup(parent.inode, part)
            if attr.mode & 0o170000 == 0o120000 and follow and (parts or follow_last):
                followed += 1
                if followed > LINKS_FOLLOWED_MAX:
                    raise TooManyLevels("too many symbolic links")
                target = self.readlink(attr.inode)
                if len(parts) + target.count(b"/") > PATH_BYTES_MAX:
                    raise TooManyLevels("the symbolic links make the path too long")
                parts += reversed([each for each in target.split(b"/") if each and each != b"."])
                attr = self._root() if target.startswith(b"/") else parent
        return attr
