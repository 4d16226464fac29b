"""`python PATH_TO_THIS_FOLDER`: the command line, from any folder, for example from a WebUI's own."""

from lib_ctrlgen.cli.main import main

raise SystemExit(main())
