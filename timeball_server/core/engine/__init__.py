"""The engine of a scheduler node: events and the time in, effects out.

Who is authoritative. The journal of a task is the truth; this engine is its only writer for as
long as it holds the shard's epoch and its lease lasts. What stands in memory is what it read
after it took the shard, plus what it wrote since.

What it decides, chapter by chapter: `writing` appends events one at a time per task and never
acknowledges before they are durable; `loading` and `sweeping` bring due work into memory;
`takeover` resolves claims of earlier owners; `dispatching` claims ahead of time and hands out at
the instant; `completing` turns results into events; `commands` answers callers.

What it never does: wait, read a clock, talk to anyone, log, or draw randomness that was not
handed in. A shell feeds it events in order and carries out its effects in order.
"""
