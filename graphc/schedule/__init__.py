"""Who computes what, and when: from the calls of a step to what a team of threads can share."""
