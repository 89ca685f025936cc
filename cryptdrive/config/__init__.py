"""What the user can set: a TOML file → frozen dataclasses, and the local folders (XDG).

Every option of the command line that is not about one single run has a key here. A value is
checked in one place, whether it comes from the file or from the command line: the functions
``parse_*``, and the bounds that the dataclasses check when they are made.
"""

from cryptdrive.config.folders import LocalFolders
from cryptdrive.config.options import Config, DriveConfig, DriveSettings, MountOptions, WebDavOptions
from cryptdrive.config.reading import load_config, parse_config
from cryptdrive.config.values import WEBDAV_PORT, parse_address, parse_command, parse_duration, parse_umask

__all__ = [
    "WEBDAV_PORT",
    "Config",
    "DriveConfig",
    "DriveSettings",
    "LocalFolders",
    "MountOptions",
    "WebDavOptions",
    "load_config",
    "parse_address",
    "parse_command",
    "parse_config",
    "parse_duration",
    "parse_umask",
]
