// Question: what does a PKI token cost that is not known yet, and for how long does it keep everybody else waiting?
//
// The reader over certificates in files, as `serve` has it, against what nobody can do without: OpenSSL's verification of the same
// content under the same key, in turn. Tokens as keystoneclient signed them (RSA 2048, SHA-256): one after the other, so the time of one
// is its latency; processor time beside it. Beside them a loop of `setImmediate` that measures how late it is: what others wait.

import { verify, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { secretFile } from '../src/config/secrets.ts';
import { readCms } from '../src/formats/cms.ts';
import { createPkiReader } from '../src/formats/pki.ts';
import { derOf } from '../src/formats/pki-spelling.ts';
import { median, quantile, readOptions, report } from './report.ts';

const options = readOptions();
const rounds = options.quick ? 5 : 21;
const each = options.quick ? 40 : 200;

// From dist/bench/bench.
const { certificates, tokens } = JSON.parse(readFileSync(new URL('../../../test/vectors/pki-tokens.json', import.meta.url), 'utf8'));
const dir = mkdtempSync(join(tmpdir(), 'sidegate-bench-'));
for (const name of ['signing', 'ca']) writeFileSync(join(dir, name), certificates[name]);
/** While the captured tokens live. */
const nowMs = Date.UTC(2026, 10, 21, 18, 30);
const clock = {
  nowMs: () => nowMs,
  monotonicMs: () => performance.now(),
  delay: (ms: number, signal: AbortSignal) =>
    new Promise<void>((resolve, reject) => {
      const timer = setTimeout(resolve, ms);
      signal.addEventListener('abort', () => {
        clearTimeout(timer);
        reject(signal.reason);
      });
    }),
};
const silent = { info: () => undefined, warn: () => undefined, error: () => undefined, debug: () => undefined };
const reader = createPkiReader(
  { name: 'bench', signingCert: secretFile(join(dir, 'signing')), ca: secretFile(join(dir, 'ca')), leewayMs: 0 },
  { clock, log: silent },
);

/** The longest gap between two turns of the event loop while `work` is done, in milliseconds. */
async function longestGap(work: () => Promise<void>): Promise<number> {
  let longest = 0;
  let last = performance.now();
  let isOver = false;
  const look = (): void => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    if (!isOver) setImmediate(look);
  };
  setImmediate(look);
  await work();
  isOver = true;
  return longest;
}

const never = new AbortController().signal;
const read = async (raw: string, expected: string): Promise<void> => {
  const reading = await reader.read(raw, never);
  const said = reading.kind === 'facts' ? 'facts' : reading.reason;
  if (said !== expected) throw new Error(`the token is ${said}, and should be ${expected}`);
};

async function times(act: () => Promise<void> | void): Promise<number[]> {
  const found: number[] = [];
  for (let count = 0; count < each; count += 1) {
    const before = performance.now();
    await act();
    found.push(performance.now() - before);
  }
  return found;
}

try {
  const pki: string = tokens.project.PKI_sha256;
  const kinds: readonly (readonly [string, string, string])[] = [
    ['pki', pki, 'facts'],
    ['pkiz', tokens.project.PKIZ_sha256, 'facts'],
    ['pki_small', tokens.unscoped.PKI_sha256, 'facts'],
    ['pki_wrongly_signed', withWrongSignature(pki), 'BAD_SIGNATURE'],
    ['pki_garbage', `${pki.slice(0, 5_000)}AAAA${pki.slice(5_004)}`.slice(0, 15_000), 'MALFORMED'],
  ];
  const coldMs = await longestGap(() => read(pki, 'facts'));
  report(
    options,
    { name: 'pki_cold_gap', value: coldMs, unit: 'ms', wanted: null },
    'the event loop while the libraries are loaded and the first token is read: once a process',
  );
  for (const [, raw, expected] of kinds) for (let warm = 0; warm < 200; warm += 1) await read(raw, expected);

  const signed = await readCms((await derOf(pki)) ?? new Uint8Array());
  if (signed === undefined) throw new Error('the captured token cannot be read');
  const key = new X509Certificate(certificates.signing).publicKey;
  const bare = (): void => {
    if (!verify('sha256', signed.content, key, signed.signature)) throw new Error('OpenSSL says no');
  };
  const ratios: number[] = [];
  const found = new Map<string, number[]>(kinds.map(([name]) => [name, []]));
  const cpu: number[] = [];
  const bares: number[] = [];
  const gaps: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    for (const [name, raw, expected] of kinds) {
      const before = process.cpuUsage();
      const took = await times(() => read(raw, expected));
      const { user, system } = process.cpuUsage(before);
      found.get(name)?.push(...took);
      if (name !== 'pki') continue;
      cpu.push((user + system) / 1000 / each);
      const alone = await times(bare);
      bares.push(...alone);
      ratios.push(median(took) / median(alone));
    }
    gaps.push(await longestGap(() => read(pki, 'facts')));
  }
  const conditions = `${rounds} rounds of ${each}, one after the other; a token of ${pki.length} bytes`;
  report(options, { name: 'pki_ratio', value: median(ratios), unit: '× OpenSSL’s verification alone', wanted: null }, conditions);
  report(options, { name: 'pki_bare', value: median(bares), unit: 'ms', wanted: null }, 'OpenSSL alone, on this thread');
  report(
    options,
    { name: 'pki_cpu', value: median(cpu), unit: 'ms of processor time a token', wanted: null },
    'the same rounds, all threads',
  );
  for (const [name, raw] of kinds) {
    const took = found.get(name) ?? [];
    report(options, { name: `${name}_p50`, value: median(took), unit: 'ms', wanted: null }, `${raw.length} bytes`);
    report(options, { name: `${name}_p99`, value: quantile(took, 0.99), unit: 'ms', wanted: null }, 'the same');
  }
  report(
    options,
    { name: 'pki_gap', value: median(gaps), unit: 'ms', wanted: '<= 20' },
    'the longest that the event loop does nothing else while one token is read, median of the rounds',
  );
} finally {
  rmSync(dir, { recursive: true });
}

/** The signature is last in a CMS without attributes. */
function withWrongSignature(raw: string): string {
  const bytes = Buffer.from(raw.replaceAll('-', '/'), 'base64');
  bytes.writeUInt8((bytes.at(-1) ?? 0) ^ 1, bytes.length - 1);
  return bytes.toString('base64').replaceAll('/', '-');
}
