"""The commands of `aigid`; each imports what it needs when it runs, so that `--help` is instant."""
