"""The command line: parse, call, print; no logic. Heavy rooms are imported inside the commands."""
