// What we use of @nats-io/jetstream 3.4.0, mapped in tsconfig.json as nats-transport.d.ts is. Times are in nanoseconds.

import type { NatsConnection } from '@nats-io/transport-node';

export interface StreamConfig {
  readonly name: string;
  readonly subjects?: readonly string[];
  readonly storage: 'file' | 'memory';
  readonly retention: 'limits' | 'interest' | 'workqueue';
  readonly discard: 'old' | 'new';
  /** 0: for ever. */
  readonly max_age: number;
  readonly num_replicas: number;
  readonly max_msgs?: number;
  readonly no_ack?: boolean;
  readonly sealed?: boolean;
  readonly mirror?: object;
  readonly sources?: readonly object[];
}

export interface StreamInfo {
  readonly config: StreamConfig;
  readonly state: { readonly messages: number; readonly first_seq: number; readonly last_seq: number; readonly consumer_count: number };
}

export interface ConsumerConfig {
  readonly name: string;
  readonly ack_policy: 'none';
  readonly replay_policy: 'instant';
  readonly inactive_threshold: number;
  readonly mem_storage: boolean;
  readonly num_replicas: number;
  readonly deliver_policy: 'all' | 'by_start_sequence';
  readonly opt_start_seq?: number;
}

export interface JetStreamClient {
  /** Rejects with a JetStreamApiError where the server refuses; its `code` is JetStream's `err_code`. */
  publish(
    subject: string,
    payload: Uint8Array,
    options: { readonly timeout: number; readonly expect: { readonly streamName: string } },
  ): Promise<{ readonly seq: number }>;
}

export interface JetStreamManager {
  readonly streams: {
    info(name: string): Promise<StreamInfo>;
    add(config: StreamConfig): Promise<StreamInfo>;
    delete(name: string): Promise<boolean>;
    update(name: string, config: Partial<StreamConfig>): Promise<StreamInfo>;
    purge(name: string): Promise<object>;
  };
  readonly consumers: {
    add(stream: string, config: ConsumerConfig): Promise<object>;
    delete(stream: string, consumer: string): Promise<boolean>;
    list(stream: string): AsyncIterable<{ readonly name: string }>;
  };
  jetstream(): JetStreamClient;
}

export function jetstreamManager(
  connection: NatsConnection,
  options: { readonly checkAPI: boolean; readonly timeout: number },
): Promise<JetStreamManager>;
