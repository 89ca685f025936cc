"""The configuration file: what it may say, and what is said of what it may not."""

import re
from pathlib import Path

import pytest

from cryptdrive.config import Config, DriveConfig, DriveSettings, WebDavOptions, load_config
from cryptdrive.errors import ConfigError

EXAMPLE = Path(__file__).parents[3] / "config" / "cryptdrive.example.toml"


def load(tmp_path: Path, content: str) -> Config:
    path = tmp_path / "config.toml"
    path.write_text(content)
    return load_config(path)


def complaint(tmp_path: Path, content: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, content)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'config.toml'}: ")
    return message


# --- the example ---------------------------------------------------------------------------


def uncommented(text: str) -> str:
    return re.sub(r"(?m)^#(?=\[|[a-z_]+ = )", "", text)


def test_the_example_sets_nothing() -> None:
    assert load_config(EXAMPLE) == Config()


def test_every_line_of_the_example_is_right(tmp_path: Path) -> None:
    config = load(tmp_path, uncommented(EXAMPLE.read_text()))
    photos = config.drive("photos")
    assert photos.name == "photos"
    assert photos.store == "/mnt/nas/photos"
    assert photos.mountpoint == Path.home() / "Photos"
    assert photos.settings.block_cache_mib == 256
    assert photos.mount.umask == 0o077
    assert photos.mount.options == ("fsname=drive",)


def test_the_example_shows_every_option_with_its_default(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    keys = set(re.findall(r"(?m)^#?([a-z_]+) = ", text))
    default = DriveConfig()
    fields = {"cache_dir", "log_file", "idle"}
    for table in (default, default.settings, default.mount, default.webdav):
        fields |= set(type(table).__dataclass_fields__)
    assert keys == fields - {"name", "settings", "mount", "webdav", "idle_s"}
    # The numbers that the example shows for the limits are those that hold without a file.
    limits = re.search(r"\[defaults.settings\]\n(.*?)\n\n", text, re.DOTALL)
    assert limits is not None
    config = load(tmp_path, "[defaults.settings]\n" + uncommented(limits[1]))
    assert config.defaults.settings == DriveSettings()


# --- what the file says --------------------------------------------------------------------


def test_defaults_hold_for_every_drive_and_a_drive_wins(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        log_file = "~/drive.log"
        [defaults]
        idle = "30m"
        password_file = "/p"
        [defaults.settings]
        dirty_mib_max = 100
        block_cache_mib = 10
        [drives.a]
        store = "/a"
        [drives.b]
        store = "s3://bucket/b"
        idle = 0
        password_command = "pass show 'my drive'"
        settings = { block_cache_mib = 20 }
        webdav = { enabled = true, address = "[::1]:99" }
        """,
    )
    a, b = config.drive("a"), config.drive("b")
    assert config.log_file == Path.home() / "drive.log"
    assert (a.store, a.idle_s, a.password_file) == ("/a", 1800.0, Path("/p"))
    assert (a.settings.dirty_mib_max, a.settings.block_cache_mib) == (100, 10)
    assert (b.store, b.idle_s) == ("s3://bucket/b", None)
    assert (b.settings.dirty_mib_max, b.settings.block_cache_mib) == (100, 20)
    assert b.webdav == WebDavOptions(enabled=True, address=("::1", 99))
    # A way to unlock of its own replaces those of the defaults.
    assert (b.password_file, b.password_command) == (None, ("pass", "show", "my drive"))


def test_a_store_that_is_not_in_the_file_has_the_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, "[defaults]\nread_only = true")
    for location in ("/vault", "./vault", "~/vault", "..", "file:///vault"):
        drive = config.drive(location)
        assert (drive.name, drive.store, drive.read_only) == ("", location, True)


def test_a_name_that_is_not_in_the_file(tmp_path: Path) -> None:
    config = load(tmp_path, '[drives.photos]\nstore = "/a"')
    with pytest.raises(ConfigError, match=r'no drive "photo" .*photos.* ./photo'):
        config.drive("photo")


def test_a_folder_that_is_there_needs_no_more_than_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load(tmp_path, '[drives.photos]\nstore = "/a"')
    monkeypatch.chdir(tmp_path)
    for name in ("vault", "photos"):
        (tmp_path / name).mkdir()
    assert config.drive("vault").store == "vault"
    assert config.drive("photos").store == "/a"  # a name in the file comes first


# --- what it may not say -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("sotre = 1", 'unknown key "sotre" at the top of the file'),
        ('cache_dri = "/x"', 'unknown key "cache_dri" at the top of the file; did you mean "cache_dir"?'),
        ("[driver]", 'unknown key "driver" at the top of the file; did you mean "drives"?'),
        ("[defaults.mount]\nalow_other = true", 'unknown key "alow_other" in table [defaults.mount]'),
        ('[drives.a]\nstore = "/a"\nmount = {umsk = "0"}', 'unknown key "umsk" in table [drives.a.mount]'),
        ('[drives.a]\nstore = "/a"\nname = "b"', 'unknown key "name" in table [drives.a]'),
        ("[defaults]\nidle_s = 5", 'unknown key "idle_s" in table [defaults]'),
        ('[defaults]\npassword = "x"', "secrets do not belong here: use password_file"),
        ('[drives.a]\nstore = "/a"\nrecovery_key = "x"', "use recovery_key_file"),
    ],
)
def test_an_unknown_key_is_named_with_its_table(tmp_path: Path, content: str, expected: str) -> None:
    assert expected in complaint(tmp_path, content)


def test_a_secret_in_the_wrong_place_is_not_repeated(tmp_path: Path) -> None:
    assert "hunter2" not in complaint(tmp_path, '[defaults]\npassword = "hunter2"')


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("settings", "dirty_mib_max = 0"),
        ("settings", "dirty_mib_max = 65537"),
        ("settings", "dirty_mib_max = 64.0"),
        ("settings", "dirty_mib_max = true"),
        ("settings", 'dirty_mib_max = "64"'),
        ("settings", "sealing_starts_mib = -1"),
        ("settings", "block_cache_mib = 0"),
        ("settings", "node_cache_mib = 7"),
        ("settings", "publish_quiet_s = 0"),
        ("settings", "publish_quiet_s = nan"),
        ("settings", "publish_interval_s = inf"),
        ("settings", "publish_interval_max_s = false"),
        ("mount", "allow_other = 1"),
        ("mount", "uid = -1"),
        ("mount", "gid = 4294967295"),
        ("mount", "umask = 77"),
        ("mount", 'umask = "088"'),
        ("mount", 'umask = "1000"'),
        ("mount", 'options = "dev"'),
        ("mount", "options = [1]"),
        ("mount", 'options = [""]'),
        ("webdav", 'address = "host:port"'),
        ("webdav", 'address = "host:70000"'),
        ("webdav", 'address = "http://host:80"'),
        ("webdav", 'key_file = "key.pem"'),
    ],
)
def test_a_wrong_value_is_named_with_key_and_table(tmp_path: Path, table: str, line: str) -> None:
    key = line.partition(" ")[0]
    for where in (f"defaults.{table}", f"drives.a.{table}"):
        content = f'[drives.a]\nstore = "/a"\n[{where}]\n{line}'
        assert f'"{key}" in table [{where}] must ' in complaint(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("defaults = 1", '"defaults" must be a table'),
        ("drives = []", '"drives" must be a table'),
        ("[drives]\na = 1", '"drives.a" must be a table'),
        ("[defaults]\nmount = 1", '"defaults.mount" must be a table'),
        ("[drives.a]\nread_only = true", '"store" in table [drives.a] is missing'),
        ('[drives.a]\nstore = "relative"', '"store" in table [drives.a] must be a path that starts with'),
        ('[drives.a]\nstore = ""', '"store" in table [drives.a] must be a text that is not empty'),
        ('[drives.a]\nstore = "~no-such-user/x"', '"store" in table [drives.a] names a home folder'),
        ('[drives."a/b"]\nstore = "/a"', "[drives.a/b]: a drive's name has"),
        ('[defaults]\nstore = "/a"', '"store" in table [defaults] belongs to one drive'),
        ('[defaults]\nmountpoint = "/a"', '"mountpoint" in table [defaults] belongs to one drive'),
        ("log_file = 1", '"log_file" at the top of the file must be a text'),
        ('[defaults]\nidle = "soon"', '"idle" in table [defaults] must be a time'),
        (
            '[defaults]\npassword_command = "pass \'x"',
            '"password_command" in table [defaults] must be a command',
        ),
        ("[defaults]\npassword_command = []", '"password_command" in table [defaults] must be a command'),
        (
            "[defaults.settings]\ndirty_mib_max = 4",
            '"sealing_starts_mib" in table [defaults.settings] is larger than "dirty_mib_max"',
        ),
        (
            "[defaults.settings]\npublish_interval_s = 300",
            '"publish_interval_s" in table [defaults.settings] is larger than "publish_interval_max_s"',
        ),
        (
            '[defaults.webdav]\nkey_file = "/k"',
            '"certificate_file" and "key_file" in table [defaults.webdav] go together',
        ),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, content: str, expected: str) -> None:
    assert expected in complaint(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "line"),
    [("a = 1\nb = ", "end of document"), ("\n\n[x", "end of document"), ("a = 1\na b", "line 2")],
)
def test_broken_toml_is_named_with_its_line(tmp_path: Path, content: str, line: str) -> None:
    message = complaint(tmp_path, content)
    assert "not TOML" in message
    assert line in message


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match="not TOML"):
        load_config(path)


def test_a_file_that_is_far_too_large(tmp_path: Path) -> None:
    assert "larger than" in complaint(tmp_path, "#" * (1 << 20) + "\n")


# --- the file itself -----------------------------------------------------------------------


def test_a_missing_file_is_an_error_only_if_it_was_named(tmp_path: Path) -> None:
    assert load_config(tmp_path / "none.toml", required=False) == Config()
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "none.toml")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    for required in (True, False):
        with pytest.raises(ConfigError, match="directory"):
            load_config(tmp_path, required=required)


def test_who_may_read_the_file_does_not_matter_but_who_may_write_a_command_does(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[drives.a]\nstore = "/a"')
    path.chmod(0o666)
    assert load_config(path).drive("a").store == "/a"
    path.write_text('[drives.a]\nstore = "/a"\npassword_command = "pass show a"')
    path.chmod(0o644)
    assert load_config(path).drive("a").password_command == ("pass", "show", "a")
    path.chmod(0o646)
    with pytest.raises(ConfigError, match="everybody may write"):
        load_config(path)
