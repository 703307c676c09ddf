"""Ten lines: a task, now and in two seconds. Run `timeball dev examples/hello.py`, then this."""

import asyncio

import timeball


@timeball.task("hello.greet")
async def greet(name: str) -> str:
    return f"Hello, {name}!"


async def main() -> None:
    now = await greet.submit("sailor")
    later = await greet.options(delay="2s", priority=9).submit(name="harbour master")
    print(await now.result(), await later.result())


if __name__ == "__main__":
    asyncio.run(main())
