"""`python -m executor_node`, the same as `timeball executor`."""

from executor_node.cli import command

if __name__ == "__main__":
    command(prog_name="timeball executor")
