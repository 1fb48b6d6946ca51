"""`python -m marm` is `marm`."""

from marm.cli.app import main

main()
