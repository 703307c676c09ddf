import { isIP } from "node:net";

import {
  type DescMessage,
  type DescMethodUnary,
  fromBinary,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import {
  type ChannelCredentials,
  Client as GrpcClient,
  credentials,
  Metadata,
  type ServiceError,
} from "@grpc/grpc-js";

import { fromStatus, invalid, TimeballError } from "./errors.js";

const OPTIONS = {
  "grpc.primary_user_agent": "timeball-typescript",
  // Of several addresses every call takes the next one that is reachable.
  "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
  "grpc.service_config_disable_resolution": 1,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 2_000,
  // The client repeats calls itself, with its own word for it in the request.
  "grpc.enable_retries": 0,
  "grpc.max_receive_message_length": 16 * 1024 * 1024,
};

/** How long a call may take, and what may end it before. */
export interface Limits {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** Carries generated messages over gRPC, one call at a time, and repeats nothing. */
export class Channel {
  readonly #grpc: GrpcClient;
  readonly #metadata = new Metadata();
  #isClosed = false;

  constructor(addresses: readonly string[], apiKey: string | undefined, tls: ChannelCredentials | undefined) {
    this.#grpc = new GrpcClient(targetOf(addresses), tls ?? credentials.createInsecure(), OPTIONS);
    if (apiKey) {
      this.#metadata.set("authorization", `Bearer ${apiKey}`);
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#grpc.close();
  }

  /** Sends a request once. Rejects with a TimeballError, or with the reason of an aborted signal. */
  send<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageShape<I>,
    { timeoutMs, signal }: Limits,
  ): Promise<MessageShape<O>> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.#isClosed) {
        throw new TimeballError("FAILED_PRECONDITION", "the client is closed");
      }
      const call = this.#grpc.makeUnaryRequest(
        `/${method.parent.typeName}/${method.name}`,
        (message: MessageShape<I>) => Buffer.from(toBinary(method.input, message)),
        (bytes: Buffer) => fromBinary(method.output, bytes),
        request,
        this.#metadata,
        { deadline: Date.now() + timeoutMs },
        (error: ServiceError | null, answer?: MessageShape<O>) => {
          signal?.removeEventListener("abort", cancel);
          if (answer) {
            resolve(answer);
          } else {
            reject(signal?.aborted ? signal.reason : fromStatus(error as ServiceError));
          }
        },
      );
      const cancel = () => call.cancel();
      signal?.addEventListener("abort", cancel, { once: true });
    });
  }
}

/** The addresses as gRPC wants them. */
function targetOf(addresses: readonly string[]): string {
  const parts = addresses.map((address) => address.trim());
  const families = new Set(parts.map((address) => isIP(hostOf(address))));
  if (parts.length === 1) {
    return parts[0] as string;
  }
  if (families.size !== 1 || families.has(0)) {
    const hint = "of several addresses each must be an IP address of one family";
    throw invalid("address", `${hint}; for names use one DNS name that answers with all of them`);
  }
  return `${families.has(6) ? "ipv6" : "ipv4"}:${parts.join(",")}`;
}

function hostOf(address: string): string {
  const [, host, port] = /^(.+):(\d+)$/.exec(address) ?? [];
  if (!host || Number(port) > 65_535 || address.includes("://")) {
    throw invalid("address", `${address}: write host:port, without http:// or the like`);
  }
  return host.replace(/^\[(.*)\]$/, "$1");
}
