import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";

import type { Channel } from "./channel.js";
import { TimeballError } from "./errors.js";
import type { Task } from "./gen/timeball/v1/task_pb.js";
import { TaskService, WaitTaskRequestSchema } from "./gen/timeball/v1/task_service_pb.js";
import { BACKOFF_FIRST_MS, pause, retryDelayMs } from "./retry.js";

/** The service waits at most a minute; asking for less notices a dead one sooner. */
const ROUND_MS = 30_000;
const MARGIN_MS = 5_000;
/** A wait outlives an outage that is no longer than this. */
const OUTAGE_MAX_MS = 60_000;

/** Waits in rounds until a task has ended; a broken round is taken up again. */
export async function wait(
  channel: Channel,
  name: string,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Task> {
  const untilMs = performance.now() + timeoutMs;
  for (let wellMs = performance.now(), repetition = 0; ; ) {
    const askedMs = performance.now();
    const roundMs = Math.ceil(Math.max(Math.min(untilMs - askedMs, ROUND_MS), 1));
    const request = create(WaitTaskRequestSchema, { name, timeout: durationFromMs(roundMs) });
    let failure: unknown;
    try {
      const limits = { timeoutMs: roundMs + MARGIN_MS, signal };
      const { done, task } = await channel.send(TaskService.method.waitTask, request, limits);
      if (done && task) {
        return task;
      }
      [wellMs, repetition] = [performance.now(), 0];
    } catch (error) {
      failure = error;
    }
    const leftMs = untilMs - performance.now();
    if (failure !== undefined) {
      const delayMs = retryDelayMs(failure, repetition++);
      if (delayMs === undefined || performance.now() - wellMs > OUTAGE_MAX_MS) {
        throw failure;
      }
      await pause(Math.max(Math.min(delayMs, leftMs), 0), signal);
    } else if (performance.now() - askedMs < roundMs) {
      // Answered too early, for example by a server that is shutting down: do not spin.
      await pause(BACKOFF_FIRST_MS, signal);
    }
    if (performance.now() >= untilMs) {
      const words = `${name} has not ended yet; it goes on, wait again or cancel it`;
      throw new TimeballError("DEADLINE_EXCEEDED", words, { reason: "WAIT_TIMEOUT", cause: failure });
    }
  }
}
