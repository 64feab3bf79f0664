// The servers that carry a fleet's log, each a real one of Debian, hurt by its process id.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createJetstream } from '../../src/fleet/jetstream.ts';
import { createRabbitmqStream } from '../../src/fleet/rabbitmq-stream.ts';
import type { Engine } from '../../src/ports.ts';
import { systemClock } from '../../src/sidecar.ts';
import { startNatsProcess } from '../../test/fakes/nats-process.ts';
import { startRabbitmqProcess } from '../../test/fakes/rabbitmq-process.ts';
import { type HubPlan, startHub } from './hub.ts';

const day = 86_400_000;
const inClear = { caFile: undefined, certFile: undefined, keyFile: undefined, serverName: undefined };

/** Those with a server of their own. */
export const engineNames = ['rabbitmq', 'jetstream'] as const;

/** As `fleet.engine` names them. `follow`: another sidecar, with a log of its own, in the place of a server. */
export type EngineName = (typeof engineNames)[number] | 'follow';

/** A running server, always at the same port of 127.0.0.1. */
export interface EngineServer {
  readonly name: EngineName;
  readonly port: number;
  readonly pid: number;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** After `kill`: with what was on disk. Resolves when it serves. */
  start(): Promise<void>;
  /** SIGSTOP, and SIGCONT. */
  freeze(): Promise<void>;
  thaw(): void;
  close(): Promise<void>;
  /** One more that reads the log, without a way between. */
  reader(): Engine;
  /** The `fleet` of a sidecar that reaches it at `port`, whole lines; files of its own go into `dir`. */
  settings(dir: string, port: number): string;
}

/** Starts one with a state of its own. `hub`: what is followed, if it is one that is. Throws where it is not installed. */
export async function startEngine(name: EngineName, hub: HubPlan): Promise<EngineServer> {
  if (name === 'follow') return startHub(hub);
  if (name === 'jetstream') {
    const nats = await startNatsProcess();
    // `pid` is a getter, which a spread would read once.
    return Object.assign(nats, {
      name,
      reader: () =>
        createJetstream(
          {
            servers: [nats.url],
            stream: 'FAULTS',
            retentionMs: day,
            replicas: 1,
            credentials: undefined,
            tls: undefined,
            connectionName: 'bench',
          },
          { clock: systemClock },
        ),
      settings: (_dir: string, port: number) =>
        `fleet: { engine: jetstream, jetstream: { servers: ["127.0.0.1:${port}"], stream: FAULTS } }`,
    });
  }
  const rabbitmq = await startRabbitmqProcess();
  return Object.assign(rabbitmq, {
    name,
    reader: () =>
      createRabbitmqStream(
        {
          transportUrl: { read: async () => rabbitmq.transportUrl },
          tls: inClear,
          stream: 'faults',
          retentionMs: day,
          connectionName: 'bench',
        },
        { clock: systemClock },
      ),
    settings(dir: string, port: number) {
      const file = join(dir, 'transport-url');
      writeFileSync(file, rabbitmq.transportUrl.replace(`:${rabbitmq.port}/`, `:${port}/`));
      return `fleet: { engine: rabbitmq, rabbitmq: { transport_url_file: ${file}, stream: faults } }`;
    },
  });
}
