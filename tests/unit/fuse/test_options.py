"""What ``-o`` may say, and what libfuse is told."""

import pytest

from cryptdrive.errors import ConfigError
from cryptdrive.fuse.options import MountOptions, with_option_text


def test_defaults_for_libfuse() -> None:
    assert MountOptions().for_libfuse() == {
        "fsname=cryptdrive",
        "subtype=cryptdrive",
        "default_permissions",
    }


def test_switches_for_libfuse() -> None:
    options = MountOptions(allow_other=True, read_only=True, dev=True, suid=True, extra=("noexec",))
    assert {"allow_other", "ro", "dev", "suid", "noexec"} <= options.for_libfuse()


def test_what_only_changes_the_presentation_is_not_told() -> None:
    options = MountOptions(uid=7, gid=8, umask=0o77, nonempty=True)
    assert options.for_libfuse() == MountOptions().for_libfuse()


def test_a_comma_in_the_name_is_escaped() -> None:
    assert r"fsname=a\,dev\\" in MountOptions(fsname="a,dev\\").for_libfuse()


def test_a_name_that_libfuse_cannot_take() -> None:
    with pytest.raises(ConfigError, match="fsname"):
        MountOptions(fsname="größe").for_libfuse()


def test_option_text() -> None:
    options = with_option_text(
        MountOptions(),
        "fsname=photos,allow_other,ro,uid=1000,gid=100,umask=027,nonempty,noexec,max_read=4096",
    )
    assert options == MountOptions(
        fsname="photos",
        allow_other=True,
        read_only=True,
        uid=1000,
        gid=100,
        umask=0o27,
        nonempty=True,
        extra=("noexec", "max_read=4096"),
    )


def test_the_last_word_wins() -> None:
    options = with_option_text(MountOptions(), "dev,suid,ro,nodev,nosuid,rw")
    assert options == MountOptions()


def test_words_of_fstab_are_accepted() -> None:
    text = "defaults,nofail,_netdev,noauto,users,x-systemd.automount,x-systemd.requires=a.mount,comment=b,,"
    assert with_option_text(MountOptions(), text) == MountOptions()


@pytest.mark.parametrize("text", ["colour", "fsname=", "uid=me", "uid=-1", "gid=4294967296", "umask=9"])
def test_words_that_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=text.partition("=")[0]):
        with_option_text(MountOptions(), text)
