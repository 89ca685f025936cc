"""A drive: an open vault with its local state. The only place that puts the parts together."""

from cryptdrive.drive.creation import create_drive
from cryptdrive.drive.opening import change_password, open_drive
from cryptdrive.drive.running import Drive, DriveStatus

__all__ = ["Drive", "DriveStatus", "change_password", "create_drive", "open_drive"]
