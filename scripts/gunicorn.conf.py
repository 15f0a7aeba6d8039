"""What the stack's gunicorn needs beyond its command line; names that an older gunicorn lacks are ignored by it."""

# It would be one socket for all stacks of a user, in the home directory.
control_socket_disable = True
