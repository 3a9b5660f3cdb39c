"""Who of all sessions is served when: clock, workers, costs, and what to leave out."""
