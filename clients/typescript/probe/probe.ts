/**
 * Does what it is told, so that one suite of tests can drive the clients of every language: a JSON
 * object per line on standard input says what, one per line on standard output says what came of
 * it. See tests/polyglot.
 */
import { createInterface } from "node:readline";

import { Client, durationFromMs, jsonPayload, result, type Task, TaskState, TimeballError, timestampDate } from "timeball";

/** One line of input. */
interface Order {
  verb: string;
  task: string;
  handler: string;
  arguments: Record<string, unknown>;
  owner?: string;
  delay_ms?: number;
  page_size?: number;
  reason?: string;
  request_id?: string;
  etag?: string;
  terminate?: boolean;
  priority?: number;
  run_ms?: number;
  timeout_ms?: number;
}

/** One line of output. */
interface Outcome {
  tasks: object[];
  result?: unknown;
  error?: object;
}

const client = new Client();

async function carryOut(order: Order, made: Outcome): Promise<void> {
  const signal = order.timeout_ms ? AbortSignal.timeout(order.timeout_ms) : undefined;
  const wish = { requestId: order.request_id, signal };
  const change = { ...wish, etag: order.etag };
  switch (order.verb) {
    case "create": {
      const { handler, owner } = order;
      const payload = jsonPayload(order.arguments);
      const task = { handler, payload, owner: owner ?? "", delay: durationFromMs(order.delay_ms ?? 0) };
      made.tasks.push(seen(await client.create(task, wish)));
      break;
    }
    case "get":
      made.tasks.push(seen(await client.get(order.task, { signal })));
      break;
    case "cancel":
      made.tasks.push(
        seen(await client.cancel(order.task, { ...wish, reason: order.reason ?? "", terminate: order.terminate ?? false })),
      );
      break;
    case "update": {
      const changes = { priority: order.priority ?? 0 };
      made.tasks.push(seen(await client.update(order.task, changes, { ...change, fields: ["priority"] })));
      break;
    }
    case "reschedule": {
      const at = order.run_ms ? { at: new Date(order.run_ms) } : {};
      made.tasks.push(seen(await client.reschedule(order.task, { ...change, ...at })));
      break;
    }
    case "retry":
      made.tasks.push(seen(await client.retry(order.task, wish)));
      break;
    case "delete":
      await client.delete(order.task, change);
      break;
    case "wait": {
      const limit = order.timeout_ms ? { timeoutMs: order.timeout_ms } : {};
      const task = await client.wait(order.task, limit);
      made.tasks.push(seen(task));
      made.result = result(task);
      break;
    }
    case "list":
      for await (const task of client.list({ owner: order.owner ?? "", pageSize: order.page_size ?? 0 })) {
        made.tasks.push(seen(task));
      }
      break;
    default:
      throw new Error(`no such verb: ${order.verb}`);
  }
}

function seen({ name, state, owner, attempt, dueTime, etag }: Task): object {
  const due_ms = dueTime ? timestampDate(dueTime).getTime() : 0;
  return { name, state: TaskState[state], owner, attempt, due_ms, etag };
}

function refusal(error: unknown): object {
  if (!(error instanceof TimeballError)) {
    return { message: String(error) };
  }
  const { reason, message, metadata, violations, retryAfterMs } = error;
  const fields = violations.map(({ field }) => field);
  return { reason, message, fields, metadata, retry_after_ms: retryAfterMs ?? 0 };
}

for await (const line of createInterface({ input: process.stdin })) {
  const made: Outcome = { tasks: [] };
  try {
    await carryOut(JSON.parse(line) as Order, made);
  } catch (error) {
    made.error = refusal(error);
  }
  console.log(JSON.stringify(made));
}
client.close();
