"""Run the entry as Python would: its files, folders, arguments and imports."""
