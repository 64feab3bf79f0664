// Fills a memory tier and says what that took. argv: what, and how many.
//
// `facts` of bodies without a catalog; `bare`: the same without their claims; `catalogs`: facts, each with its catalog; `uncataloged`:
// facts of the very same bodies, the catalogs not kept.

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { digestOf } from '../src/core/raw.ts';
import { readKeystoneToken } from '../src/keystone/token-body.ts';
import type { Reading, TokenFormat } from '../src/ports.ts';
import { memoryBytes, serve } from './children.ts';
import { type MemoryTier, memoryTier } from './memory-tier.ts';
import { fernetLike } from './servers/scripted-keystone.ts';

const [kind = 'facts', count = '1000'] = process.argv.slice(2);
const isLarge = kind === 'catalogs' || kind === 'uncataloged';

/** From dist/bench/bench. */
const vector = (name: string) => JSON.parse(readFileSync(new URL(`../../../test/vectors/${name}.json`, import.meta.url), 'utf8'));
const captured: string = vector('keystone-bodies').bodies.project[isLarge ? 'withCatalog' : 'withoutCatalog'];
/** The token in Python's spelling, as Keystone sends it, with the catalog of twenty services in place of its small one. */
const template = isLarge ? withLargeCatalog(captured) : captured;
const { user, audit_ids: auditIds, issued_at: issuedAt, expires_at: expiresAt } = JSON.parse(captured).token;
const utf8 = new TextEncoder();

function withLargeCatalog(body: string): string {
  const catalog = pythonJson(vector('keystone-catalogs').catalogs['alice-web']);
  const from = body.indexOf('"catalog": ');
  if (from < 0 || !body.endsWith(']}}')) throw new Error('the catalog of the captured body is not last in it');
  return `${body.slice(0, from)}"catalog": ${catalog}}}`;
}

/** With a space after each comma and colon that is not in a string. */
function pythonJson(value: unknown): string {
  return JSON.stringify(value).replace(/"(?:[^"\\]|\\.)*"|[,:]/g, (part) => (part === ',' || part === ':' ? `${part} ` : part));
}

/** The body of a token of its own, of a user of its own, issued now: as long as the captured one. */
function newBody(): Uint8Array {
  const time = (ms: number): string => new Date(ms).toISOString().replace(/\.\d{3}Z$/, '.000000Z');
  const text = template
    .replace(user.id, randomBytes(16).toString('hex'))
    .replace(auditIds[0], randomBytes(16).toString('base64url'))
    .replace(issuedAt, time(Date.now()))
    .replace(expiresAt, time(Date.now() + 3_600_000));
  // A chunk of an answer, put together as upstreams/http does: from the same slabs of Node's that the claims are taken from.
  return Buffer.concat([utf8.encode(text)]);
}

function withoutClaims(reading: Reading): Reading {
  if (reading.kind !== 'facts') return reading;
  const { catalogAt: _at, token, ...facts } = reading.facts;
  const { claimsJson: _claims, ...bare } = token;
  return { ...reading, facts: { ...facts, token: bare } };
}

const format: TokenFormat = {
  name: 'opaque',
  health: () => ({ reachable: true }),
  read: async (_raw, _signal, options) => {
    const reading = readKeystoneToken(newBody(), 'bench', options);
    return kind === 'bare' ? withoutClaims(reading) : reading;
  },
};

/** Each is fetched and has been hit once. */
async function fill({ facts, issuer, invalidations }: MemoryTier, tokens: number): Promise<void> {
  const { signal } = new AbortController();
  for (let made = 0; made < tokens; made += 1) {
    const raw = fernetLike();
    const fetched = await facts.fetch({ digest: digestOf(raw), raw, issuer, catalog: kind === 'catalogs' }, signal);
    if (fetched.kind !== 'known') throw new Error(`the token was ${fetched.reason}`);
    invalidations.covering(fetched.known);
  }
}

/** After everything that is dead has gone; buffers go a turn after what held them. */
async function settledBytes(): Promise<number> {
  for (let pass = 0; pass < 3; pass += 1) {
    globalThis.gc?.();
    await turn();
  }
  return memoryBytes();
}

/** Nothing is pushed out. */
const size = { facts: 1 << 30, catalogs: 1 << 30 };
// The code is compiled, and what is made once is made.
await fill(memoryTier(format, size), 1000);
const tier = memoryTier(format, size);
const before = await settledBytes();
const residentBefore = process.memoryUsage.rss();
await fill(tier, Number(count));
const grown = (await settledBytes()) - before;
const residentGrown = process.memoryUsage.rss() - residentBefore;
if (tier.facts.entries('memory') !== Number(count)) throw new Error('not all of the facts were kept');
if (tier.catalogs.size !== (kind === 'catalogs' ? Number(count) : 0)) throw new Error('not all of the catalogs were kept');
serve({
  grown: grown / Number(count),
  residentGrown: residentGrown / Number(count),
  factsEstimate: tier.facts.bytes / Number(count),
  catalogEstimate: tier.catalogs.bytes / Number(count),
  bodyBytes: template.length,
});
