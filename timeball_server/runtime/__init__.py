"""Clock, lifecycle, configuration and logs of a process."""
