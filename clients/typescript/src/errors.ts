import { fromBinary } from "@bufbuild/protobuf";
import { type Any, anyUnpack, durationMs } from "@bufbuild/protobuf/wkt";
import { type ServiceError, status } from "@grpc/grpc-js";

import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "./gen/google/rpc/status_pb.js";

const DOMAIN = "timeball.dev";
const DETAILS_KEY = "grpc-status-details-bin";

/** Names of gRPC's statuses, for example `NOT_FOUND`. */
export type Code = keyof typeof status;

/** Stable words for programs. A newer service may have more of them. */
export type Reason =
  | "INVALID_REQUEST"
  | "TASK_NOT_FOUND"
  | "ALREADY_EXISTS"
  | "UNAUTHENTICATED"
  | "PERMISSION_DENIED"
  | "FAILED_PRECONDITION"
  /** The attempt has started; nothing was changed. */
  | "TOO_LATE"
  /** The same request id, other content. */
  | "REQUEST_ID_REUSED"
  | "ABORTED"
  | "STALE_ETAG"
  | "UNAVAILABLE"
  | "RESOURCE_EXHAUSTED"
  /** It may or may not have happened: read, or repeat with the same request id. */
  | "OUTCOME_UNKNOWN"
  /** From `wait`: the task goes on. */
  | "WAIT_TIMEOUT"
  /** From `result`: the task ended without one. */
  | "TASK_FAILED"
  | "INTERNAL"
  | (string & {});

/** One thing that is wrong with a request: where, and what would be accepted. */
export interface Violation {
  readonly field: string;
  readonly description: string;
}

/**
 * What a status means when it carries no reason of ours: it came from a proxy or from gRPC itself.
 * CANCELLED by the other side is a server that went away.
 */
const REASON_BY_CODE: Partial<Record<Code, Reason>> = {
  INVALID_ARGUMENT: "INVALID_REQUEST",
  OUT_OF_RANGE: "INVALID_REQUEST",
  NOT_FOUND: "TASK_NOT_FOUND",
  ALREADY_EXISTS: "ALREADY_EXISTS",
  UNAUTHENTICATED: "UNAUTHENTICATED",
  PERMISSION_DENIED: "PERMISSION_DENIED",
  FAILED_PRECONDITION: "FAILED_PRECONDITION",
  ABORTED: "ABORTED",
  UNAVAILABLE: "UNAVAILABLE",
  CANCELLED: "UNAVAILABLE",
  RESOURCE_EXHAUSTED: "RESOURCE_EXHAUSTED",
  DEADLINE_EXCEEDED: "OUTCOME_UNKNOWN",
};

interface Facts {
  readonly reason?: Reason | undefined;
  readonly violations?: readonly Violation[];
  readonly metadata?: Readonly<Record<string, string>>;
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

/** How every call fails. Programs look at `reason`; docs/api/errors.md has all of them. */
export class TimeballError extends Error {
  override readonly name = "TimeballError";
  readonly code: Code;
  readonly reason: Reason;
  /** The fields that are wrong, if the request was. */
  readonly violations: readonly Violation[];
  /** Facts for programs. */
  readonly metadata: Readonly<Record<string, string>>;
  /** How long the service asks to wait before the next try, if it does. */
  readonly retryAfterMs: number | undefined;

  constructor(code: Code, message: string, facts: Facts = {}) {
    super(message, { cause: facts.cause });
    this.code = code;
    this.reason = facts.reason ?? REASON_BY_CODE[code] ?? "INTERNAL";
    this.violations = facts.violations ?? [];
    this.metadata = facts.metadata ?? {};
    this.retryAfterMs = facts.retryAfterMs;
  }

  /** Whether the same call may succeed later. */
  get retryable(): boolean {
    switch (this.code) {
      case "UNAVAILABLE":
      case "CANCELLED":
      case "DEADLINE_EXCEEDED":
        return true;
      case "ABORTED":
        return this.reason !== "STALE_ETAG";
      case "RESOURCE_EXHAUSTED":
        // Without advice on when to come back it may be a message over a limit, which stays over it.
        return this.retryAfterMs !== undefined;
      default:
        return false;
    }
  }
}

/** The error for one field that is wrong. */
export function invalid(field: string, description: string, cause?: unknown): TimeballError {
  const violations = [{ field, description }];
  return new TimeballError("INVALID_ARGUMENT", `${field}: ${description}`, { violations, cause });
}

/** Reads a failed call's status with its google.rpc details. */
export function fromStatus(error: ServiceError): TimeballError {
  const code = (status[error.code] ?? "UNKNOWN") as Code;
  const facts = detailsOf(error).reduce<Facts>(withDetail, { cause: error });
  return new TimeballError(code, error.details || code, facts);
}

/** The details; unreadable ones count as absent, the code and the words remain. */
function detailsOf(error: ServiceError): Any[] {
  const [packed] = error.metadata.get(DETAILS_KEY);
  try {
    return packed instanceof Uint8Array ? fromBinary(StatusSchema, packed).details : [];
  } catch {
    return [];
  }
}

function withDetail(facts: Facts, detail: Any): Facts {
  const info = anyUnpack(detail, ErrorInfoSchema);
  if (info?.domain === DOMAIN) {
    return { ...facts, reason: info.reason, metadata: info.metadata };
  }
  const request = anyUnpack(detail, BadRequestSchema);
  if (request) {
    return { ...facts, violations: request.fieldViolations };
  }
  const delay = anyUnpack(detail, RetryInfoSchema)?.retryDelay;
  return delay ? { ...facts, retryAfterMs: durationMs(delay) } : facts;
}
