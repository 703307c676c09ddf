"""`make demo`: what Timeball is for, on the embedded default, proven from outside.

Starts a local mailbox and `timeball dev`, hands it work through the public SDK, shows it live,
and then checks mailbox, report, the executor's own file and a counter. Exits 1 if any claim fails.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import demo_proof as proof
import timeball
from demo_tasks import (
    Receipt,
    charge,
    employment_report,
    forbidden,
    heartbeat,
    send_receipt,
    settle,
)
from demo_view import (
    Line,
    attempts_table,
    clock,
    journal_table,
    lateness_ms,
    lateness_table,
    live_table,
    state_of,
)
from demo_world import HERE, ClusterServer, DevServer, Mailbox
from rich.console import Console
from rich.live import Live
from rich.table import Table

RUN_S = 14.0
EVERY_MS = 2_000
WIDTH_OF_FILES = 110
YEARS = (2006, 2015)
CLUSTER_FACTS = HERE.parent / ".cluster" / "facts.json"
EMPLOYMENT = HERE / "data" / "us-employment.csv"


class Demo:
    """One run: what was submitted, and how it is shown."""

    def __init__(self, client: timeball.AsyncClient, work: Path) -> None:
        self.client = client
        self.work = work
        self.lines: dict[str, str] = {}
        self.exact_ms = 0
        self.began_ms = round(time.time() * 1000)
        self.schedule: timeball.ScheduleHandle | None = None
        self.ids: dict[str, str] = {}

    async def submit(self) -> None:
        """Hand over all the work. Every answer means: the promise is durable."""
        receipt = Receipt(customer="A. Customer", amount_cents=4_990, currency="EUR")
        now = datetime.now(UTC)
        exact = now + timedelta(seconds=5, milliseconds=250)
        exact = exact.replace(microsecond=exact.microsecond // 1000 * 1000)
        self.exact_ms = round(exact.timestamp() * 1000)
        sent = await send_receipt.options(delay="3s").submit(receipt, to="customer@home.example")
        report = await employment_report.options(delay="2s").submit(
            data=str(EMPLOYMENT), first_year=YEARS[0], last_year=YEARS[1]
        )
        typed = await charge.options(run_at=exact).submit("A. Customer", amount_cents=4_990)
        flaky = await settle.options(delay="1s", priority=2).submit("invoice 7")
        urgent = await charge.options(priority=8).submit("B. Customer", 120)
        unwanted = await forbidden.options(delay="6s").submit()
        self.schedule = await heartbeat.schedule("pulse", timeball.every("2s"))
        await unwanted.cancel(reason="the customer changed their mind")
        self.ids = {
            "receipt": sent.id,
            "report": report.id,
            "exact": typed.id,
            "flaky": flaky.id,
            "now": urgent.id,
            "cancelled": unwanted.id,
        }

    async def table(self, seconds_left: float) -> Table:
        titles = {
            "now": "immediate, priority 8",
            "flaky": "fails twice, is retried",
            "report": "report in 2 s",
            "receipt": "receipt e-mail in 3 s",
            "exact": f"typed call at {clock(self.exact_ms / 1000)}",
            "cancelled": "cancelled before its time",
        }
        lines = [Line(title, await self.client.get(self.ids[key])) for key, title in titles.items()]
        return live_table([*lines, *await self._recurring()], seconds_left)

    async def _recurring(self) -> list[Line]:
        if self.schedule is None:
            return []
        recent = (await self.schedule.get()).recent_tasks
        shown = [await self.client.get(name) for name in recent[:3]]
        return [Line("every 2 s", task) for task in shown] or [Line("every 2 s", None)]

    async def watch(self, console: Console) -> None:
        """Show the table until the time is over."""
        end = time.monotonic() + RUN_S
        first = await self.table(RUN_S)
        if not console.is_terminal:
            console.print(first)
        with Live(first, console=console, refresh_per_second=8, transient=False) as live:
            while (left := end - time.monotonic()) > 0:
                live.update(await self.table(left))
                await asyncio.sleep(0.15)
        if self.schedule is not None:
            await self.schedule.delete()

    def checks(self, starts: list[proof.Start], mailbox: Mailbox) -> list[proof.Check]:
        """The claims, judged from outside."""
        return [
            proof.receipt_arrived(mailbox.messages, self.ids["receipt"]),
            proof.report_is_right(self.work / "employment.html", *YEARS),
            proof.ran_at_its_instant(starts, self.ids["exact"], self.exact_ms),
            proof.retried_with_raised_priority(starts, self.ids["flaky"]),
            proof.recurred(starts, EVERY_MS),
            proof.never_ran(self.work / "forbidden.count", starts, self.ids["cancelled"]),
            proof.started_once_each(starts),
            proof.never_early(starts),
        ]


async def run(
    console: Console, address: str, work: Path, mailbox: Mailbox, logs: list[Path]
) -> bool:
    async with timeball.AsyncClient(address) as client:
        timeball.use(client)
        demo = Demo(client, work)
        await demo.submit()
        await demo.watch(console)
        retried = await client.get(demo.ids["flaky"])
        console.print(attempts_table(retried), journal_table(retried))
        starts = proof.starts_since(logs, demo.began_ms)
        console.print(lateness_table([start.started_ms - start.due_ms for start in starts]))
        checks = demo.checks(starts, mailbox)
        if len(logs) > 1:
            members = await executors(client, logs)
            checks.append(proof.moved_to_a_stronger_executor(members, demo.ids["flaky"]))
        console.print(_verdicts(checks))
        console.print(
            f"final state of the retried task: {state_of(retried)}, {lateness_ms(retried)}"
        )
    return all(check.holds for check in checks)


async def executors(client: timeball.AsyncClient, logs: list[Path]) -> list[proof.Executor]:
    """The executors whose files these are: `<name>.starts.jsonl`."""
    files = {path.name.partition(".")[0]: path for path in logs if path.exists()}
    return [
        proof.Executor(node.name, node.strength, node.slots, proof.read_starts(files[node.name]))
        for node in (await client.cluster()).nodes
        if node.name in files
    ]


def _verdicts(checks: list[proof.Check]) -> Table:
    table = Table(title="Proof from outside: mailbox, report, the executor's file, a counter")
    for name in ("claim", "holds", "evidence"):
        table.add_column(name)
    for check in checks:
        mark = "[green]yes[/]" if check.holds else "[bold red]NO[/]"
        table.add_row(check.claim, mark, check.evidence)
    return table


def main() -> int:
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_OF_FILES)
    if where := os.environ.get("TIMEBALL_DEMO_CLUSTER"):
        return on_cluster(console, CLUSTER_FACTS if where == "1" else Path(where))
    with tempfile.TemporaryDirectory(prefix="timeball-demo-") as folder:
        work = Path(folder)
        mailbox = Mailbox()
        return show(console, DevServer(work, mailbox.start()), work, mailbox)


def on_cluster(console: Console, facts: Path) -> int:
    """The same on the cluster that `make cluster` has started."""
    if not facts.exists():
        console.print("no cluster runs here; start one with: make cluster")
        return 1
    server = ClusterServer(facts)
    mailbox = Mailbox(server.smtp_port)
    mailbox.start()
    return show(console, server, server.work, mailbox)


def show(console: Console, server: DevServer | ClusterServer, work: Path, mailbox: Mailbox) -> int:
    try:
        address = server.start()
        console.print(f"timeball is ready on {address}; mailbox and data in {work}")
        holds = asyncio.run(run(console, address, work, mailbox, server.start_logs))
    finally:
        code = server.stop()
        mailbox.stop()
    if not holds or code != 0:
        console.print(f"[bold red]The demo failed[/] (the server ended with {code}):")
        console.print(server.output(), markup=False)
        return 1
    console.print("[green]All claims hold.[/] Next: [bold]make test[/], or read README.md.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
