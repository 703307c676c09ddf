import { setTimeout as delay } from "node:timers/promises";

import type { DescMessage, DescMethodUnary, MessageShape } from "@bufbuild/protobuf";

import type { Channel, Limits } from "./channel.js";
import { TimeballError } from "./errors.js";

export const BACKOFF_FIRST_MS = 100;
const BACKOFF_MAX_MS = 2_000;
/** One address that does not answer must not use up the whole deadline of a call. */
const ATTEMPT_MAX_MS = 5_000;

/**
 * Sends a request until it is answered, refused for good, or no time is left.
 *
 * Repetitions carry the same request id and say that they are repetitions.
 */
export async function call<I extends DescMessage, O extends DescMessage>(
  channel: Channel,
  method: DescMethodUnary<I, O>,
  request: MessageShape<I>,
  { timeoutMs, signal }: Limits,
): Promise<MessageShape<O>> {
  const untilMs = performance.now() + timeoutMs;
  for (let repetition = 0, leftMs = timeoutMs; ; repetition++) {
    try {
      const limits = { timeoutMs: Math.min(leftMs, ATTEMPT_MAX_MS), signal };
      return await channel.send(method, request, limits);
    } catch (error) {
      const delayMs = retryDelayMs(error, repetition);
      leftMs = untilMs - performance.now() - (delayMs ?? 0);
      if (delayMs === undefined || leftMs <= 0) {
        throw error;
      }
      await pause(delayMs, signal);
      markResent(request);
    }
  }
}

/** Makes a request say that it is a repetition, if it can. */
function markResent(request: object): void {
  if ("resend" in request) {
    request.resend = true;
  }
}

/**
 * How long to wait before the next try; undefined when trying again is useless.
 *
 * Full jitter, so that callers who failed together do not come back together; added to what the
 * service asked for, never instead of it.
 */
export function retryDelayMs(error: unknown, repetition: number): number | undefined {
  if (!(error instanceof TimeballError && error.retryable)) {
    return undefined;
  }
  const ceilingMs = Math.min(BACKOFF_FIRST_MS * 2 ** Math.min(repetition, 16), BACKOFF_MAX_MS);
  return (error.retryAfterMs ?? 0) + Math.random() * ceilingMs;
}

/** Lets this much time pass; rejects with the reason of a signal that is aborted meanwhile. */
export async function pause(lengthMs: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await delay(lengthMs, undefined, signal && { signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}
