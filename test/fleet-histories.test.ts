// Random histories of Revoke, Refresh and Validate with freshness on three whole sidecars, by many callers at once, while lines are cut and
// sidecars are started again: no answer is older than it promised.

import { randomBytes, randomInt } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { secretFile } from '../src/config/secrets.ts';
import { whyNoMemcached } from './fakes/memcached.ts';
import { describeWithNats, type Nats, startNats } from './fakes/nats.ts';
import { describeWithRabbitmq, type Rabbitmq, startRabbitmq } from './fakes/rabbitmq.ts';
import { type LogServer, playHistory, type Recorded } from './fleet-histories/history.ts';
import { judged } from './fleet-histories/judge.ts';

/** Given again, it does the same; when what happens is not said by that. */
const seed = Number(process.env['SIDEGATE_HISTORIES_SEED'] ?? randomInt(1_000_000));
/** Of each history, and how many of them: seeds one after the other. */
const operations = Number(process.env['SIDEGATE_HISTORIES_OPERATIONS'] ?? 900);
const runs = Number(process.env['SIDEGATE_HISTORIES_RUNS'] ?? 1);

describeWithRabbitmq('RabbitMQ', () => {
  let rabbitmq: Rabbitmq;
  beforeAll(async () => {
    rabbitmq = await startRabbitmq();
  }, 240_000);
  afterAll(() => rabbitmq?.close(), 60_000);

  const none = { caFile: undefined, certFile: undefined, keyFile: undefined, serverName: undefined };
  historiesOver('a RabbitMQ stream', () => {
    const stream = randomBytes(6).toString('hex');
    return {
      port: rabbitmq.port,
      fleet(dir, port) {
        writeFileSync(join(dir, 'transport-url'), rabbitmq.transportUrl.replace(`:${rabbitmq.port}/`, `:${port}/`));
        return { kind: 'rabbitmq', transportUrl: secretFile(join(dir, 'transport-url')), stream, tls: none };
      },
    };
  });
});

describeWithNats('NATS', () => {
  let nats: Nats;
  beforeAll(async () => {
    nats = await startNats();
  }, 60_000);
  afterAll(() => nats?.close());

  historiesOver('a JetStream stream', () => {
    const stream = randomBytes(6).toString('hex');
    return {
      port: nats.port,
      fleet: (_dir, port) => ({
        kind: 'jetstream',
        servers: [{ host: nats.host, port }],
        stream,
        replicas: 1,
        credentials: undefined,
        tls: undefined,
      }),
    };
  });
});

function historiesOver(name: string, server: () => LogServer): void {
  describe.skipIf(whyNoMemcached !== undefined)(`three sidecars over ${name}`, () => {
    for (let run = 0; run < runs; run += 1) {
      const mine = seed + run;
      it(`no answer is older than it promised (SIDEGATE_HISTORIES_SEED=${mine})`, { timeout: 180_000 + operations * 200 }, async () => {
        const recorded = await playHistory(server(), { seed: mine, operations });
        const judgement = judged(recorded.history, recorded.rules);
        say(mine, recorded, judgement);
        const { violations, seen } = judgement;

        expect([...new Set(violations.map(({ broken, sidecar, note }) => `${broken} on ${sidecar}: ${note}`))].slice(0, 20)).toEqual([]);
        // It was worth it: there were answers of every kind that could have been wrong.
        expect(seen.active).toBeGreaterThan(operations / 10);
        expect(seen.none).toBeLessThan(seen.answers / 2);
        for (const broken of ['OLDER_THAN_REFRESH', 'ACTIVE_WHERE_REVOKED', 'ACTIVE_AFTER_ASKED_ENTRY', 'ACTIVE_AFTER_FLEET'] as const) {
          expect([broken, seen.held[broken] ?? 0]).not.toEqual([broken, 0]);
        }
      });
    }
  });
}

/** For whoever runs many of them: a line for each, and the whole of one that is wrong. */
function say(mine: number, { history, faults, settings }: Recorded, { violations, seen }: ReturnType<typeof judged>): void {
  const file = process.env['SIDEGATE_HISTORIES_TOLD'];
  if (file === undefined) return;
  writeFileSync(file, `${JSON.stringify({ seed: mine, operations, settings, faults, violations, seen })}\n`, { flag: 'a' });
  if (violations.length > 0) writeFileSync(`${file}.${mine}`, history.map((happening) => `${JSON.stringify(happening)}\n`).join(''));
}
