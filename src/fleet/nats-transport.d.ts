// What we use of @nats-io/transport-node 3.4.0, mapped in tsconfig.json: its own declarations break under exactOptionalPropertyTypes.

import type { ConnectionOptions as TlsOptions } from 'node:tls';

export interface ConnectionOptions {
  /** `host:port`. */
  readonly servers: string | string[];
  readonly name: string;
  /** For one address, in milliseconds. */
  readonly timeout: number;
  readonly reconnect: boolean;
  readonly ignoreClusterUpdates: boolean;
  readonly noAsyncTraces: boolean;
  /** Handed to node as it is. With it a server that does not speak TLS is refused. */
  readonly tls?: Pick<TlsOptions, 'host' | 'servername' | 'minVersion' | 'rejectUnauthorized' | 'ca' | 'cert' | 'key'>;
  readonly authenticator?: Authenticator;
}

/** Answers the server's nonce. Throws where it cannot read what it is made of. */
export type Authenticator = (nonce?: string) => unknown;

export interface Message {
  readonly subject: string;
  readonly reply?: string;
  readonly data: Uint8Array;
  /** A status has them, and a record that was published with some. */
  readonly headers?: { readonly code: number; readonly description: string };
  /** In bytes, as the server counts them. */
  size(): number;
}

export interface NatsConnection {
  publish(subject: string, payload: string, options: { readonly reply: string }): void;
  subscribe(subject: string, options: { readonly callback: (error: Error | null, message: Message) => void }): { unsubscribe(): void };
  /** Resolves at the next PONG; never where the connection ends first. */
  flush(): Promise<void>;
  close(): Promise<void>;
  /** Resolves when it has ended, with an error where there was one. */
  closed(): Promise<Error | undefined>;
  status(): AsyncIterable<{ readonly type: 'error'; readonly error: Error } | { readonly type: 'other' }>;
}

export function connect(options: ConnectionOptions): Promise<NatsConnection>;
export function credsAuthenticator(creds: Uint8Array): Authenticator;
export function createInbox(): string;
export const nuid: { next(): string };
/** Keys as `nsc` makes them; the seed is what a `.creds` file holds. */
export const nkeys: { createUser(): { getPublicKey(): string; getSeed(): Uint8Array } };
