"""The version of both distributions, stated once.

Hatchling reads this file when it builds `timeball` and `timeball-server`; nothing else may repeat
the number.
"""

__version__ = "0.1.0"
