"""The preprocessors that tests can run on any picture."""

from lib_ctrlgen.preprocessors import preprocessors

NEED_NO_WEIGHTS = [item for item in preprocessors() if not item.needs_weights and not item.reads_pose]
