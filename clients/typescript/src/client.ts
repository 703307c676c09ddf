import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { ChannelCredentials } from "@grpc/grpc-js";

import { Channel, type Limits } from "./channel.js";
import { TimeballError } from "./errors.js";
import type { Task, TaskSchema } from "./gen/timeball/v1/task_pb.js";
import {
  CancelTaskRequestSchema,
  CreateTaskRequestSchema,
  DeleteTaskRequestSchema,
  GetTaskRequestSchema,
  ListTasksRequestSchema,
  RescheduleTaskRequestSchema,
  RetryTaskRequestSchema,
  TaskService,
  UpdateTaskRequestSchema,
} from "./gen/timeball/v1/task_service_pb.js";
import { newRequestId } from "./request-id.js";
import { call } from "./retry.js";
import { wait } from "./wait.js";

const DEFAULT_ADDRESS = "127.0.0.1:7466";
const DEFAULT_DEADLINE_MS = 15_000;

/**
 * Where the service is and who asks. What is left out comes from the environment
 * (`TIMEBALL_ADDRESS`, with commas between several, `TIMEBALL_API_KEY`, `TIMEBALL_NAMESPACE`),
 * else from the defaults.
 */
export interface ClientOptions {
  /** host:port of every coordinator; calls take turns among those that are reachable. */
  readonly addresses?: readonly string[] | undefined;
  readonly apiKey?: string | undefined;
  /** Default: the credential's own. */
  readonly namespace?: string | undefined;
  /** Bounds each call with all its repetitions; default 15 s. */
  readonly deadlineMs?: number | undefined;
  /** For TLS; none is an unencrypted connection. */
  readonly credentials?: ChannelCredentials | undefined;
}

/** A task to create: `handler` at least. `delay` or `runTime` for later, `payload` for arguments. */
export type NewTask = MessageInitShape<typeof TaskSchema>;

/** Which tasks to list: all of the caller's own when it is empty. */
export type TaskFilter = MessageInitShape<typeof ListTasksRequestSchema>;

interface Abortable {
  /** Ends the call with the signal's reason; what was asked for may happen nevertheless. */
  readonly signal?: AbortSignal | undefined;
}

interface Wish extends Abortable {
  /**
   * Makes this call the same wish as every other one with this UUID: it has the same answer, and
   * nothing happens twice. Only you know whether you asked before, so the service looks, which
   * costs it a read.
   */
  readonly requestId?: string | undefined;
}

interface Change extends Wish {
  /** As it was read: the change holds only if nobody else has changed the task since. */
  readonly etag?: string | undefined;
}

/**
 * Creates, reads, awaits, lists, changes and cancels tasks.
 *
 * Calls that may succeed later are repeated until the deadline, with one request id and marked as
 * repetitions, so that repeating never does a thing twice. Every failure is a TimeballError.
 */
export class Client {
  readonly #channel: Channel;
  readonly #parent: string;
  readonly #deadlineMs: number;

  /** Connects when first asked. Throws `INVALID_REQUEST` for an address that cannot be meant. */
  constructor(options: ClientOptions = {}) {
    const { TIMEBALL_ADDRESS, TIMEBALL_API_KEY, TIMEBALL_NAMESPACE } = process.env;
    const addresses = options.addresses ?? (TIMEBALL_ADDRESS || DEFAULT_ADDRESS).split(",");
    this.#channel = new Channel(addresses, options.apiKey ?? TIMEBALL_API_KEY, options.credentials);
    this.#parent = `namespaces/${options.namespace ?? (TIMEBALL_NAMESPACE || "-")}`;
    this.#deadlineMs = options.deadlineMs ?? DEFAULT_DEADLINE_MS;
  }

  /** Closes the connections. Calls under way fail; what they asked for may happen nevertheless. */
  close(): void {
    this.#channel.close();
  }

  /** Promises to run a task at its instant. Answers when the promise is durable. */
  async create(task: NewTask, options: Wish = {}): Promise<Task> {
    const request = create(CreateTaskRequestSchema, { parent: this.#parent, task, ...wish(options) });
    return found(await call(this.#channel, TaskService.method.createTask, request, this.#limits(options)));
  }

  /** Reads a task, given by its name or its id, in full. */
  async get(task: string, options: Abortable = {}): Promise<Task> {
    const request = create(GetTaskRequestSchema, { name: this.#name(task) });
    return found(await call(this.#channel, TaskService.method.getTask, request, this.#limits(options)));
  }

  /**
   * Stops attempts that have not started.
   *
   * Rejects with `TOO_LATE` when an attempt has started or the task has ended; nothing was changed
   * then. `unaccounted` of the answer names attempts that may start nevertheless, because their
   * executors vanished. `terminate` ends a running attempt too: nothing it says counts any more.
   */
  async cancel(
    task: string,
    options: Wish & { readonly reason?: string; readonly terminate?: boolean } = {},
  ): Promise<Task> {
    const { reason = "", terminate = false } = options;
    const request = create(CancelTaskRequestSchema, { name: this.#name(task), reason, terminate, ...wish(options) });
    return found(await call(this.#channel, TaskService.method.cancelTask, request, this.#limits(options)));
  }

  /**
   * Changes what a task that waits will do; nothing starts as it was before the answer. Each of
   * `payload`, `priority`, `labels`, `selector`, `retry` and `timeouts` is changed as a whole;
   * without `fields` those that `changes` sets are.
   *
   * Rejects with `TOO_LATE` when an attempt has started or the task has ended, and with
   * `STALE_ETAG` when somebody else has changed it since; nothing was changed then.
   */
  async update(
    task: string,
    changes: NewTask,
    options: Change & { readonly fields?: readonly string[] } = {},
  ): Promise<Task> {
    const { etag = "", fields = [] } = options;
    const request = create(UpdateTaskRequestSchema, {
      task: { ...changes, name: this.#name(task), etag },
      updateMask: { paths: [...fields] },
      ...wish(options),
    });
    return found(await call(this.#channel, TaskService.method.updateTask, request, this.#limits(options)));
  }

  /** Moves the next attempt of a task that waits, to now without `at`. Rejects as `update` does. */
  async reschedule(task: string, options: Change & { readonly at?: Date } = {}): Promise<Task> {
    const { etag = "", at } = options;
    const when = at ? ({ case: "runTime", value: timestampFromDate(at) } as const) : { case: undefined };
    const request = create(RescheduleTaskRequestSchema, { name: this.#name(task), when, etag, ...wish(options) });
    return found(await call(this.#channel, TaskService.method.rescheduleTask, request, this.#limits(options)));
  }

  /**
   * Removes a task that has ended; what it did is not undone. Rejects with `FAILED_PRECONDITION`
   * when it has not ended: cancel it first.
   */
  async delete(task: string, options: Change = {}): Promise<void> {
    const { etag = "" } = options;
    const request = create(DeleteTaskRequestSchema, { name: this.#name(task), etag, ...wish(options) });
    await call(this.#channel, TaskService.method.deleteTask, request, this.#limits(options));
  }

  /**
   * Has a task done now, and answers who does it: the task itself if it waits, a new one, made
   * once, if it FAILED. Rejects with `TOO_LATE` when an attempt runs, and with
   * `FAILED_PRECONDITION` when it has ended and did not fail.
   */
  async retry(task: string, options: Wish = {}): Promise<Task> {
    const request = create(RetryTaskRequestSchema, { name: this.#name(task), ...wish(options) });
    return found(await call(this.#channel, TaskService.method.retryTask, request, this.#limits(options)));
  }

  /**
   * Waits for the end of a task, whichever way it ends; `result` tells. A broken connection is
   * taken up again.
   *
   * Rejects with `WAIT_TIMEOUT` after `timeoutMs`, default never; the task goes on.
   */
  async wait(task: string, options: Abortable & { readonly timeoutMs?: number } = {}): Promise<Task> {
    return wait(this.#channel, this.#name(task), options.timeoutMs ?? Infinity, options.signal);
  }

  /** Goes through the tasks of one owner, newest first, asking for the next page when needed. */
  async *list(filter: TaskFilter = {}, options: Abortable = {}): AsyncGenerator<Task, void, undefined> {
    const request = create(ListTasksRequestSchema, filter);
    request.parent ||= this.#parent;
    do {
      const page = await call(this.#channel, TaskService.method.listTasks, request, this.#limits(options));
      yield* page.tasks;
      request.pageToken = page.nextPageToken;
    } while (request.pageToken);
  }

  #limits({ signal }: Abortable): Limits {
    return { timeoutMs: this.#deadlineMs, signal };
  }

  #name(task: string): string {
    return task.includes("/") ? task : `${this.#parent}/tasks/${task}`;
  }
}

/** The request id of a call, and whether it may have been used before. */
function wish({ requestId }: Wish): { requestId: string; resend: boolean } {
  return requestId ? { requestId, resend: true } : { requestId: newRequestId(), resend: false };
}

/** The task that every answer about one task has. */
function found({ task }: { task?: Task | undefined }): Task {
  if (!task) {
    throw new TimeballError("INTERNAL", "the service answered without a task");
  }
  return task;
}
