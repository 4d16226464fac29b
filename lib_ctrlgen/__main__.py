"""`python -m lib_ctrlgen`: the command line, also where no `ctrlgen` command is installed."""

from .cli import main

raise SystemExit(main())
