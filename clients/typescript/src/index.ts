/**
 * A small client of Timeball. Messages are generated from `proto/` alone; what else is exported
 * here is a page of code around them.
 */
export { Client, type ClientOptions, type NewTask, type TaskFilter } from "./client.js";
export { type Code, type Reason, TimeballError, type Violation } from "./errors.js";
export { jsonPayload, result } from "./payload.js";
export { newRequestId } from "./request-id.js";
export { type Attempt, type Failure, type Task, TaskState } from "./gen/timeball/v1/task_pb.js";
export { durationFromMs, timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
