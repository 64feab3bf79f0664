// A scripted validator behind a real listener, and a client that sees every byte, for the tests of the HTTP faces.

import { once } from 'node:events';
import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import { connect } from 'node:net';
import { afterEach } from 'vitest';
import type { InactiveReason } from '../../src/core/decision.ts';
import { createTagger } from '../../src/core/tag.ts';
import type { FaceOptions } from '../../src/rpc/face.ts';
import type { HttpListener } from '../../src/rpc/http-listener.ts';
import type { Known } from '../../src/service/known.ts';
import { knownOf } from '../../src/service/known.ts';
import type { Answer, Question } from '../../src/service/question.ts';
import { tokenCodec } from '../../src/wire/token-codec.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { createFakeIssuer, type FactsSaid, factsOf } from '../fakes/issuer.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';

/** What the validator does with a question. */
export type Answers = (question: Question, signal: () => AbortSignal) => Answer | Promise<Answer>;

/** One HTTP exchange. */
export interface Exchange {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** What is sent. */
export interface Sent {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** When the test is over. */
export function atEnd(end: () => Promise<void> | void): void {
  ends.push(end);
}

const tagger = createTagger([{ id: 'k1', secret: Buffer.alloc(32, 7) }]);

/** The record of a token of `issuer`; `central` is a Keystone. `claims` as bytes say them. */
export function knownFor(issuer: string, said: FactsSaid = {}, claims = '{}'): Known {
  const facts = factsOf(issuer, { ...said, token: { ...said.token, claimsJson: claims } });
  const names = {
    digest: 'd'.repeat(32),
    fingerprints: ['f'.repeat(32)],
    keyIds: ['k'],
    standIn: 'stand-in',
    signedContent: undefined,
    hashIds: [],
  };
  const began = { wallMs: 0, monotonicMs: 0, revision: 0 };
  const parts = {
    issuer: createFakeIssuer({ name: issuer, hasCatalogs: issuer === 'central' }).issuer,
    names,
    facts,
    provenance: 'authority' as const,
    began,
  };
  return knownOf({ ...parts, timeMs: 300_000, refreshAhead: 1 }, tagger, tokenCodec);
}

const asked = { fingerprint: 'f'.repeat(32), revoked: undefined, asOf: 0 as Answer['asOf'], maxAgeMs: 0, degradedBy: [] } as const;

/** An active answer about it. */
export function active(known: Known, catalog?: string): Answer {
  const found = { ...asked, decision: { active: true }, known, provenance: 'MEMORY' } as const;
  return catalog === undefined ? found : { ...found, catalog: Buffer.from(catalog) };
}

/** An inactive one. */
export function inactive(reason: InactiveReason, known?: Known): Answer {
  return { ...asked, decision: { active: false, reason }, known, provenance: known && 'MEMORY' };
}

/** Starts a face over a scripted validator. `own`: the options of this face; `more` replaces what the stage says for all of them. */
export async function startStage<Own extends object>(
  start: (options: FaceOptions & Own, signal: AbortSignal) => Promise<HttpListener>,
  own: Own,
  more: Partial<FaceOptions>,
  answers: Answers,
) {
  const telemetry = createFakeTelemetry();
  const clock = createFakeClock();
  const stop = new AbortController();
  const questions: Question[] = [];
  const options = {
    address: '127.0.0.1:0',
    validator: {
      validate(question: Question, signal: () => AbortSignal) {
        questions.push(question);
        return answers(question, signal);
      },
    },
    mayValidate: () => true,
    telemetry,
    monotonicMs: () => clock.monotonicMs(),
    tokenSizeBytes: 65_536,
    callsInFlight: 64,
    drainMs: 2_000,
    ...more,
    ...own,
  };
  const listener = await start(options, stop.signal);
  atEnd(async () => {
    stop.abort();
    await listener.closed;
  });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  atEnd(() => agent.destroy());
  const { port } = listener;
  return {
    listener,
    stop,
    telemetry,
    questions,
    port,
    /** Over one connection that is kept. */
    send: (sent: Sent = {}) => send(port, sent, agent),
    /** Over a connection of its own. */
    sendAlone: (sent: Sent = {}) => send(port, sent, false),
    /** All that comes back to these bytes until the connection ends. */
    async bytes(text: string): Promise<string> {
      const socket = connect(port, '127.0.0.1');
      atEnd(() => void socket.destroy());
      let got = '';
      socket.setEncoding('latin1').on('data', (part: string) => {
        got += part;
      });
      // A server may reset a connection that it has not read to the end.
      socket.on('error', () => undefined);
      socket.write(text, 'latin1');
      if (!socket.closed) await once(socket, 'close');
      return got;
    },
  };
}

/** One request. Headers are sent as they are, in latin1. */
export function send(port: number, { method = 'GET', path = '/', headers = {}, body }: Sent, agent: Agent | false): Promise<Exchange> {
  return new Promise((resolve, reject) => {
    const asking = request({ host: '127.0.0.1', port, method, path, headers, agent }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks).toString('utf8') }),
      );
      response.on('error', reject);
    });
    asking.on('error', reject);
    asking.end(body);
  });
}
