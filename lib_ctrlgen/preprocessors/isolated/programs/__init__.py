"""What worker processes run: each file has a function `answer(header, data)`, and does not import CtrlGen."""
