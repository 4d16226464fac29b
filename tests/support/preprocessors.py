"""The preprocessors that tests can run on any picture."""

from lib_ctrlgen.preprocessors import preprocessors

NEED_NO_FACE = [
    item for item in preprocessors() if item.name != "instant_id_face_keypoints" and not item.reads_pose
]
