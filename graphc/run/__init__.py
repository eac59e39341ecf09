"""Programs run: their memory, their tables, the threads."""
