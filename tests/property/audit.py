"""Whether the records of a quiet file system belong together: nothing dangles, nothing is left over."""

from collections import Counter, defaultdict

from cryptdrive.schema.inode import HAS_XATTRS, Inode, decode_inode
from cryptdrive.schema.keys import (
    PREFIX_BYTES,
    USAGE_KEY,
    VAULT_RECORDS,
    Kind,
    dirent_name,
    extent_offset,
    orphan_inode,
)
from cryptdrive.schema.records import Usage, decode_dirent, decode_extent, decode_usage, decode_xattr
from cryptdrive.types import ROOT_INODE
from cryptdrive.vfs.filesystem import FileSystem

Record = tuple[bytes, bytes]


def audit(files: FileSystem, *, orphans: bool = False) -> None:
    """Check all records, of a file system whose changes are all published.

    ``orphans``: there may be inodes without a name, which the vault has noted as such.
    """
    records = _all_records(files)
    inodes: dict[int, Inode] = {}
    by_inode: dict[int, dict[int, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for key, value in records:
        number, kind = int.from_bytes(key[:8], "big"), key[8]
        if kind == Kind.INODE:
            inodes[number] = decode_inode(number, value)  # type: ignore[arg-type]
        by_inode[number][kind].append((key, value))
    vault = by_inode.pop(VAULT_RECORDS)
    noted = {int(orphan_inode(key)) for key, _ in vault[Kind.ORPHAN]}
    assert orphans or not noted, "inodes without a name are left"
    assert noted == {number for number, inode in inodes.items() if not inode.nlink}
    assert set(by_inode) == set(inodes), "records without an inode"
    _check_links(inodes, by_inode)
    for number, inode in inodes.items():
        _check_inode(inode, by_inode[number])
    total = Usage(sum(inode.allocated for inode in inodes.values()), len(inodes))
    assert decode_usage(dict(vault[Kind.USAGE])[USAGE_KEY]) == total
    assert (files.statfs().used_bytes, files.statfs().inodes) == total


def _all_records(files: FileSystem) -> list[Record]:
    found: list[Record] = []
    start = b""
    while piece := files.core.read(lambda: files.core.map.scan(start, b"\xff" * 16, 256)):  # noqa: B023
        found += piece
        start = piece[-1][0] + b"\0"
    return found


def _check_links(inodes: dict[int, Inode], by_inode: dict[int, dict[int, list[Record]]]) -> None:
    """Every name means an inode, and every inode knows how many names it has."""
    links: Counter[int] = Counter()
    for number, inode in inodes.items():
        entries = by_inode[number][Kind.DIRENT]
        assert inode.is_directory or not entries
        children = [decode_dirent(value) for _, value in entries]
        for (key, _), entry in zip(entries, children, strict=True):
            child = inodes[entry.inode]
            assert dirent_name(key)
            assert entry.file_type == child.mode >> 12
            links[entry.inode] += 1
            if child.is_directory:
                assert child.parent == number, "a directory that does not know where it is"
        if inode.is_directory:
            below = sum(inodes[entry.inode].is_directory for entry in children)
            assert inode.nlink in (0, 2 + below), "a directory's count of links"
    for number, inode in inodes.items():
        if inode.is_directory:
            named = number != ROOT_INODE and inode.nlink > 0
            assert links[number] == named, "a directory with another number of names than one"
        else:
            assert inode.nlink == links[number], "a file's count of links"


def _check_inode(inode: Inode, kinds: dict[int, list[Record]]) -> None:
    extents = [decode_extent(extent_offset(key), value) for key, value in kinds[Kind.EXTENT]]
    assert inode.is_regular or not extents
    end = 0
    for extent in extents:
        assert extent.offset >= end, "extents that overlap"
        end = extent.end
    assert end <= inode.size, "bytes beyond the end of the file"
    assert inode.allocated == sum(extent.length for extent in extents)
    assert not kinds[Kind.XATTR] or inode.flags & HAS_XATTRS
    for key, value in kinds[Kind.XATTR]:
        assert key[PREFIX_BYTES:]
        decode_xattr(value)
