"""``python -m nets.tools NAME ...``."""

from nets.tools import main

main()
