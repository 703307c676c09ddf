import type { MessageInitShape } from "@bufbuild/protobuf";

import { invalid, TimeballError } from "./errors.js";
import { FailureCause, type PayloadSchema, type Task, TaskState } from "./gen/timeball/v1/task_pb.js";

const CONTENT_TYPE = "application/json";

/** A handler's arguments: an object with one member per named argument. */
export function jsonPayload(args: Record<string, unknown>): MessageInitShape<typeof PayloadSchema> {
  try {
    return { contentType: CONTENT_TYPE, data: new TextEncoder().encode(JSON.stringify(args)) };
  } catch (error) {
    throw invalid("arguments", error instanceof Error ? error.message : String(error), error);
  }
}

/**
 * What the handler of a task that has ended returned; the caller vouches for its type.
 *
 * Throws `TASK_FAILED` when the task ended without a result; the metadata of the error have state,
 * cause and last failure.
 */
export function result<T = unknown>(task: Task): T {
  if (task.state !== TaskState.SUCCEEDED) {
    throw taskFailed(task);
  }
  const data = new TextDecoder().decode(task.result?.data);
  try {
    return JSON.parse(data || "null") as T;
  } catch (cause) {
    throw new TimeballError("FAILED_PRECONDITION", `the result of ${task.name} is not JSON`, { cause });
  }
}

function taskFailed(task: Task): TimeballError {
  const { name, failure } = task;
  const state = TaskState[task.state] ?? "UNKNOWN";
  const cause = task.cause ? FailureCause[task.cause] : undefined;
  const metadata = {
    task: name,
    state,
    attempts: String(task.attempt),
    ...(cause && { cause }),
    ...(failure && { failure_kind: failure.kind, failure_message: failure.message }),
  };
  const why = failure ? `: ${failure.kind}: ${failure.message}` : "";
  const words = `${name} ended as ${state}${cause ? ` (${cause})` : ""}${why}`;
  return new TimeballError("FAILED_PRECONDITION", words, { reason: "TASK_FAILED", metadata });
}
