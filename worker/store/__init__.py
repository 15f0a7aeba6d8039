"""All Redis commands of the worker: one module a group of keys, functions that take the open Store."""
