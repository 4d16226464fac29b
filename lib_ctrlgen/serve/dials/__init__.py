"""The page `/dials`, on which each signal of a request is a card with dials and a live preview."""
