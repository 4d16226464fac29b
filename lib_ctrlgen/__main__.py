"""`python -m lib_ctrlgen`: the command line, also where no `ctrlgen` command is installed."""

from lib_ctrlgen.cli.main import main

raise SystemExit(main())
