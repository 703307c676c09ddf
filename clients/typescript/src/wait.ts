import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";

import type { Channel, Limits } from "./channel.js";
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
  let [wellMs, repetition, cause] = [performance.now(), 0, undefined as unknown];
  do {
    const askedMs = performance.now();
    const roundMs = Math.ceil(Math.max(Math.min(untilMs - askedMs, ROUND_MS), 1));
    let restMs: number | undefined;
    try {
      const task = await waitRound(channel, name, { timeoutMs: roundMs, signal });
      if (task) {
        return task;
      }
      [wellMs, repetition, cause] = [performance.now(), 0, undefined];
      // Answered too early, for example by a server that is shutting down: do not spin.
      restMs = wellMs - askedMs < roundMs ? BACKOFF_FIRST_MS : 0;
    } catch (error) {
      restMs = retryDelayMs(error, repetition++);
      if (restMs === undefined || performance.now() - wellMs > OUTAGE_MAX_MS) {
        throw error;
      }
      cause = error;
    }
    await pause(Math.max(Math.min(restMs, untilMs - performance.now()), 0), signal);
  } while (performance.now() < untilMs);
  const words = `${name} has not ended yet; it goes on, wait again or cancel it`;
  throw new TimeballError("DEADLINE_EXCEEDED", words, { reason: "WAIT_TIMEOUT", cause });
}

/** Asks once; the task if it has ended. */
async function waitRound(channel: Channel, name: string, limits: Limits): Promise<Task | undefined> {
  const { timeoutMs, signal } = limits;
  const request = create(WaitTaskRequestSchema, { name, timeout: durationFromMs(timeoutMs) });
  const patience = { timeoutMs: timeoutMs + MARGIN_MS, signal };
  const { done, task } = await channel.send(TaskService.method.waitTask, request, patience);
  return done ? task : undefined;
}
