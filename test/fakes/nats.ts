// A real nats-server for one test, what its operator does to a stream, and suites that are skipped aloud where there is none.

import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { describe } from 'vitest';
import { type NatsOptions, type NatsProcess, natsBinary, startNatsProcess } from './nats-process.ts';

/** A running nats-server on 127.0.0.1. */
export interface Nats extends NatsProcess {
  /** As its operator, over a connection of its own. */
  operate<Value>(act: (manager: JetStreamManager) => Promise<Value>): Promise<Value>;
}

/** Why there is no nats-server here, or undefined. `npm test` sets SIDEGATE_SKIP_UNIT or installs what is missing. */
export const whyNoNats: string | undefined =
  process.env['SIDEGATE_SKIP_UNIT'] ?? (natsBinary === undefined ? 'nats-server is not installed' : undefined);

/** `describe`, or where there is no nats-server a suite skipped aloud: the reason stands in its title. */
export const describeWithNats = (title: string, suite: () => void): void => {
  if (whyNoNats === undefined) describe(title, suite);
  else describe.skip(`${title} (skipped: ${whyNoNats})`, suite);
};

/** Starts one with a store of its own. */
export async function startNats(options: NatsOptions = {}): Promise<Nats> {
  const server = await startNatsProcess(options);
  const operate = async <Value>(act: (manager: JetStreamManager) => Promise<Value>): Promise<Value> => {
    const connection = await connect({
      servers: `127.0.0.1:${server.port}`,
      name: 'operator',
      timeout: 10_000,
      reconnect: false,
      ignoreClusterUpdates: true,
      noAsyncTraces: true,
    });
    try {
      return await act(await jetstreamManager(connection, { checkAPI: false, timeout: 10_000 }));
    } finally {
      await connection.close();
    }
  };
  // `pid` is a getter, which a spread would read once.
  return Object.assign(server, { operate });
}
