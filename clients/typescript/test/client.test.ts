import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";

import { TaskSchema } from "../src/gen/timeball/v1/task_pb.js";
import { Client, jsonPayload, newRequestId, result, TaskState, TimeballError } from "../src/index.js";
import { retryDelayMs } from "../src/retry.js";

const refused = (reason: string) => (error: unknown) => error instanceof TimeballError && error.reason === reason;

test("request ids are UUIDs of version 7 in the order of time", () => {
  const first = newRequestId(0x0199_8765_4321);
  assert.match(first, /^01998765-4321-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.ok(first < newRequestId(0x0199_8765_4322));
  assert.notEqual(first, newRequestId(0x0199_8765_4321));
});

test("delays grow to a limit, on top of what the service asks", () => {
  const busy = new TimeballError("RESOURCE_EXHAUSTED", "busy", { retryAfterMs: 3_000 });
  for (const [repetition, ceilingMs] of [[0, 100], [3, 800], [99, 2_000]] as const) {
    for (let turn = 0; turn < 100; turn++) {
      const delayMs = retryDelayMs(busy, repetition) ?? NaN;
      assert.ok(delayMs >= 3_000 && delayMs < 3_000 + ceilingMs, `${repetition}: ${delayMs}`);
    }
  }
  assert.equal(retryDelayMs(new TimeballError("NOT_FOUND", "gone"), 0), undefined);
  assert.equal(retryDelayMs(new TypeError("a bug"), 0), undefined);
});

test("a signal ends every call with its reason", async () => {
  const client = new Client({ addresses: ["127.0.0.1:1"] });
  const signal = AbortSignal.abort(new Error("enough"));
  await assert.rejects(client.create({ handler: "any" }, { signal }), /enough/);
  await assert.rejects(client.wait("any", { signal: AbortSignal.timeout(20) }), { name: "TimeoutError" });
  client.close();
});

test("nobody answers until the deadline", async () => {
  const client = new Client({ addresses: ["127.0.0.1:1"], deadlineMs: 200 });
  await assert.rejects(client.get("any"), (error) => error instanceof TimeballError && error.retryable);
  await assert.rejects(client.list().next(), (error) => error instanceof TimeballError && error.retryable);
  await assert.rejects(client.wait("any", { timeoutMs: 20 }), refused("WAIT_TIMEOUT"));
  client.close();
});

test("a closed client says so at once", async () => {
  const client = new Client({ addresses: ["127.0.0.1:1"] });
  const waiting = client.wait("any");
  client.close();
  await assert.rejects(client.get("any"), /the client is closed/);
  await assert.rejects(waiting, /the client is closed/);
});

test("addresses that cannot be meant are refused", () => {
  const wrong = [["http://127.0.0.1:7466"], ["127.0.0.1"], [":7466"], ["127.0.0.1:"], ["127.0.0.1:1", "a.example:1"]];
  for (const addresses of wrong) {
    assert.throws(() => new Client({ addresses }), refused("INVALID_REQUEST"), addresses.join());
  }
  for (const addresses of [["[::1]:7466"], ["a.example:7466"], ["127.0.0.1:7466", "127.0.0.1:7467"]]) {
    new Client({ addresses }).close();
  }
});

test("arguments without a JSON form are refused", () => {
  assert.throws(() => jsonPayload({ count: 1n }), refused("INVALID_REQUEST"));
});

test("a result is read, or it is said why there is none", () => {
  const payload = { contentType: "application/json", data: new TextEncoder().encode('{"count": 2}') };
  const task = create(TaskSchema, { name: "any", state: TaskState.SUCCEEDED, result: payload });
  assert.deepEqual(result(task), { count: 2 });
  assert.equal(result(create(TaskSchema, { state: TaskState.SUCCEEDED })), null);
  assert.throws(() => result(create(TaskSchema, { state: TaskState.CANCELLED })), refused("TASK_FAILED"));
});
