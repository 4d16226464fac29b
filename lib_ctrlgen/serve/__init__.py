"""A server for a team: jobs over REST and on a page, in a queue that is fair between users."""
