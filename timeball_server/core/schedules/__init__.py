"""When schedules fire: rules as plain records, and the instants that follow from them alone.

Owns the meaning of cron expressions, intervals, time zones and exclusions. Never knows what a
schedule starts, whether anything ran, or what time it is: all instants come in as arguments.
"""
