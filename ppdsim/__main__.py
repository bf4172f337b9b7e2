"""``python -m ppdsim``: the same command line as the ``ppdsim`` script."""

from ppdsim.cli.app import main

main()
