"""``python -m cryptdrive.cli``."""

from cryptdrive.cli.main import main

if __name__ == "__main__":
    main()
