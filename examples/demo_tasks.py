"""The handlers of `make demo`: a receipt by e-mail, a report, a typed call, and three others.

Where they put their results comes from the environment, which the demo sets for the executor.
"""

from __future__ import annotations

import csv
import html
import os
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import timeball


def out_dir() -> Path:
    return Path(os.environ["TIMEBALL_DEMO_OUT"])


@dataclass(frozen=True)
class Receipt:
    """What a customer paid. The argument and the result of tasks are plain typed values."""

    customer: str
    amount_cents: int
    currency: str


@timeball.task("demo.receipt", timeout="10s")
async def send_receipt(receipt: Receipt, to: str) -> str:
    """A real e-mail over SMTP. The occurrence id is its Message-ID, so a repeat is recognised."""
    context = timeball.current()
    message = EmailMessage()
    message["Message-ID"] = f"<{context.occurrence_id}@shop.example>"
    message["From"] = "Shop <billing@shop.example>"
    message["To"] = to
    message["Subject"] = "Your receipt"
    amount = f"{receipt.amount_cents / 100:.2f} {receipt.currency}"
    message.set_content(f"Dear {receipt.customer},\n\nwe received {amount}. Thank you.\n")
    port = int(os.environ["TIMEBALL_DEMO_SMTP_PORT"])
    await aiosmtplib.send(message, hostname="127.0.0.1", port=port)
    return str(message["Message-ID"])


@timeball.task("demo.report", timeout="20s")
def employment_report(data: str, first_year: int, last_year: int) -> str:
    """Yearly averages of a public data set, as a page that a person can open."""
    years: dict[int, list[dict[str, str]]] = {}
    with Path(data).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            year = int(row["month"][:4])
            if first_year <= year <= last_year:
                years.setdefault(year, []).append(row)
    path = out_dir() / "employment.html"
    path.write_text(_page(years), encoding="utf-8")
    return str(path)


COLUMNS = ("nonfarm", "private", "manufacturing", "construction", "government")


def _page(years: dict[int, list[dict[str, str]]]) -> str:
    """Every value is escaped: a report must not run what its data says."""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in ("year", *COLUMNS))
    lines = [f"<tr>{head}</tr>"]
    for year, rows in sorted(years.items()):
        means = [sum(float(row[column]) for row in rows) / len(rows) for column in COLUMNS]
        cells = "".join(f"<td>{mean:.1f}</td>" for mean in means)
        lines.append(f"<tr><td>{year}</td>{cells}</tr>")
    table = "\n".join(lines)
    return (
        "<!doctype html><meta charset=utf-8><title>Employment</title>"
        "<h1>US employment, thousands, yearly averages</h1>"
        f"<table>\n{table}\n</table>"
        "<p>Source: U.S. Bureau of Labor Statistics, Current Employment Statistics.</p>\n"
    )


@timeball.task("demo.charge")
def charge(customer: str, amount_cents: int) -> Receipt:
    """A plain function with typed arguments and a typed result."""
    return Receipt(customer=customer, amount_cents=amount_cents, currency="EUR")


@timeball.task("demo.heartbeat")
async def heartbeat() -> str:
    """What recurs: it answers with its nominal time."""
    nominal = timeball.current().nominal_time
    return nominal.isoformat() if nominal else "not scheduled"


class BankIsDown(Exception):
    """A failure that another attempt may mend."""


@timeball.task(
    "demo.flaky",
    retry=timeball.RetryPolicy(max_attempts=5, initial_delay="1s", coefficient=1.5, jitter=0.2),
)
async def settle(invoice: str) -> str:
    """Fails twice, then works."""
    attempt = timeball.current().attempt
    if attempt < 3:
        raise BankIsDown(f"the bank did not answer for {invoice} (attempt {attempt})")
    return f"{invoice} settled in attempt {attempt}"


@timeball.task("demo.forbidden")
async def forbidden() -> None:
    """Must never run: the demo cancels it before its due time."""
    with (out_dir() / "forbidden.count").open("a", encoding="utf-8") as file:
        file.write("started\n")
