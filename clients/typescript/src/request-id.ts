import { randomBytes } from "node:crypto";

/**
 * A UUID of version 7: milliseconds, then 74 random bits. The service derives the task's id from
 * it, so every repetition of a request has the same task.
 */
export function newRequestId(nowMs: number = Date.now()): string {
  const id = randomBytes(16);
  id.writeUIntBE(nowMs, 0, 6);
  id.writeUInt8((id.readUInt8(6) & 0x0f) | 0x70, 6);
  id.writeUInt8((id.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = id.toString("hex");
  return [[0, 8], [8, 12], [12, 16], [16, 20], [20, 32]]
    .map(([from, to]) => hex.slice(from, to))
    .join("-");
}
