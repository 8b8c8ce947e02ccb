"""One file each: `type = "NAME"` in a configuration loads NAME.py from here."""
