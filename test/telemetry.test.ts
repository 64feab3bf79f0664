// Telemetry: the closed table, what a scrape says, what a line never says, and the audit trail.

import { execFileSync } from 'node:child_process';
import { chmodSync, closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { SidecarError } from '../src/core/errors.ts';
import { maxSeries } from '../src/telemetry/instruments.ts';
import { metricTable, shapeOf } from '../src/telemetry/metric-table.ts';
import { maxWaiting, openOutput } from '../src/telemetry/output.ts';
import { redact, redactText } from '../src/telemetry/redact.ts';
import { createTelemetry, type RunningTelemetry, type TelemetryOptions } from '../src/telemetry.ts';
import { createFakeClock, type FakeClock } from './fakes/clock.ts';

const secret = 'gAAAAABmZ9oPq0cKx1yR7mFh2s8dT4uVwXyZ';
const jws = 'eyJhbGciOiJFUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl';

interface Rig {
  readonly telemetry: RunningTelemetry;
  readonly clock: FakeClock;
  readonly lines: string[];
  readonly objects: () => Record<string, unknown>[];
}

const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

function start(options: Partial<TelemetryOptions> = {}): Rig {
  const clock = createFakeClock(Date.UTC(2026, 10, 21, 10, 4, 7, 412));
  const lines: string[] = [];
  const destination = { write: (line: string) => lines.push(line) };
  const telemetry = createTelemetry({ level: 'info', format: 'json', destination, version: '0.1.0', clock, ...options });
  ends.push(() => telemetry.close());
  return { telemetry, clock, lines, objects: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

function directory(): string {
  const path = mkdtempSync(join(tmpdir(), 'sidegate-telemetry-'));
  ends.push(() => rmSync(path, { recursive: true }));
  return path;
}

async function sampleOf({ telemetry }: Rig, series: string): Promise<number | undefined> {
  const line = (await telemetry.metrics()).split('\n').find((one) => one.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
}

describe('metrics', () => {
  it('a counter adds up, and says 0 before it is used', async () => {
    const rig = start();
    const series = 'sidegate_validate_total{issuer="corp",result="active",reason=""}';
    const counter = rig.telemetry.counter('sidegate_validate_total', { reason: '', result: 'active', issuer: 'corp' });

    expect(await sampleOf(rig, series)).toBe(0);
    counter.add();
    counter.add(2.5);

    expect(await sampleOf(rig, series)).toBe(3.5);
  });

  it('a counter takes no step back and no NaN', async () => {
    const rig = start();
    const counter = rig.telemetry.counter('sidegate_watch_resets_total', { reason: 'SLOW_CONSUMER' });
    counter.add(3);

    for (const wrong of [-1, Number.NaN, 0]) counter.add(wrong);

    expect(await sampleOf(rig, 'sidegate_watch_resets_total{reason="SLOW_CONSUMER"}')).toBe(3);
  });

  it('two bindings of one name and labels are one series, and others are their own', async () => {
    const rig = start();
    rig.telemetry.counter('sidegate_calls_rejected_total', { why: 'limit' }).add();
    rig.telemetry.counter('sidegate_calls_rejected_total', { why: 'limit' }).add();
    rig.telemetry.counter('sidegate_calls_rejected_total', { why: 'malformed' }).add(5);

    expect(await sampleOf(rig, 'sidegate_calls_rejected_total{why="limit"}')).toBe(2);
    expect(await sampleOf(rig, 'sidegate_calls_rejected_total{why="malformed"}')).toBe(5);
  });

  it('a histogram counts inclusive, cumulative buckets, one below, at, and one above a bound', async () => {
    const rig = start();
    const histogram = rig.telemetry.histogram('sidegate_watch_lag_revisions');

    for (const value of [9, 10, 11, 1_000_000]) histogram.observe(value);

    const bucket = (le: string) => sampleOf(rig, `sidegate_watch_lag_revisions_bucket{le="${le}"}`);
    expect([await bucket('1'), await bucket('10'), await bucket('100'), await bucket('65536'), await bucket('+Inf')]).toEqual([
      0, 2, 3, 3, 4,
    ]);
    expect(await sampleOf(rig, 'sidegate_watch_lag_revisions_sum')).toBe(1_000_030);
    expect(await sampleOf(rig, 'sidegate_watch_lag_revisions_count')).toBe(4);
  });

  it('a histogram ignores what is not a number', async () => {
    const rig = start();
    const histogram = rig.telemetry.histogram('sidegate_validate_duration_seconds', { provenance: 'memory' });

    for (const wrong of [Number.NaN, Number.POSITIVE_INFINITY]) histogram.observe(wrong);
    histogram.observe(0.0001);

    expect(await sampleOf(rig, 'sidegate_validate_duration_seconds_count{provenance="memory"}')).toBe(1);
    expect(await sampleOf(rig, 'sidegate_validate_duration_seconds_sum{provenance="memory"}')).toBe(0.0001);
  });

  it('a histogram agrees with counting one by one, for random values', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.double({ min: 0, max: 20, noNaN: true }), { maxLength: 50 }), async (values) => {
        const rig = start();
        const histogram = rig.telemetry.histogram('sidegate_upstream_duration_seconds', { issuer: 'a', outcome: 'good' });
        for (const value of values) histogram.observe(value);
        const text = await rig.telemetry.metrics();
        for (const bound of metricTable['sidegate_upstream_duration_seconds']?.bounds ?? []) {
          const expected = values.filter((value) => value <= bound).length;
          expect(text).toContain(`sidegate_upstream_duration_seconds_bucket{issuer="a",outcome="good",le="${bound}"} ${expected}\n`);
        }
        await rig.telemetry.close();
      }),
      { numRuns: 20 },
    );
  });

  it('a gauge is read at the scrape; one that fails or has no value is left out and hurts no other', async () => {
    const rig = start();
    let watchers = 1;
    rig.telemetry.gauge('sidegate_watchers', {}, () => watchers);
    rig.telemetry.gauge('sidegate_degraded', { cause: 'CLOCK' }, () => Number.NaN);
    rig.telemetry.gauge('sidegate_journal_entries', {}, () => {
      throw new Error('closed');
    });
    watchers = 7;

    expect(await sampleOf(rig, 'sidegate_watchers')).toBe(7);
    expect(await sampleOf(rig, 'sidegate_degraded{cause="CLOCK"}')).toBeUndefined();
    expect(await sampleOf(rig, 'sidegate_journal_entries')).toBeUndefined();
  });

  it('a gauge bound again is read by its new reader', async () => {
    const rig = start();
    rig.telemetry.gauge('sidegate_watchers', {}, () => 1);
    rig.telemetry.gauge('sidegate_watchers', {}, () => 2);

    expect(await sampleOf(rig, 'sidegate_watchers')).toBe(2);
  });

  it('build_info names the version and node', async () => {
    const rig = start();

    expect(await sampleOf(rig, `sidegate_build_info{version="0.1.0",node="${process.versions.node}"}`)).toBe(1);
  });

  it('a label value cannot break out of its line', async () => {
    const rig = start();
    rig.telemetry.counter('sidegate_flight_waiters_total', { issuer: 'a"} 1\nevil 2\\' }).add();

    const text = await rig.telemetry.metrics();
    expect(text).toContain('sidegate_flight_waiters_total{issuer="a\\"} 1\\nevil 2\\\\"} 1\n');
    expect(text).not.toMatch(/^evil/m);
  });

  it.each([maxSeries - 1, maxSeries])('%i series of a metric are all their own', async (count) => {
    const rig = start();
    for (let at = 0; at < count; at++) rig.telemetry.counter('sidegate_flight_waiters_total', { issuer: `i${at}` }).add();

    const text = await rig.telemetry.metrics();
    expect(text.match(/^sidegate_flight_waiters_total\{/gm)).toHaveLength(count);
    expect(text).not.toContain('issuer="other"');
  });

  it('what is bound beyond the limit of series counts as other', async () => {
    const rig = start();
    for (let at = 0; at < maxSeries + 2; at++) rig.telemetry.counter('sidegate_flight_waiters_total', { issuer: `i${at}` }).add();
    rig.telemetry.counter('sidegate_flight_waiters_total', { issuer: 'i0' }).add();

    expect(await sampleOf(rig, 'sidegate_flight_waiters_total{issuer="other"}')).toBe(2);
    expect(await sampleOf(rig, 'sidegate_flight_waiters_total{issuer="i0"}')).toBe(2);
    expect((await rig.telemetry.metrics()).match(/^sidegate_flight_waiters_total\{/gm)).toHaveLength(maxSeries + 1);
  });

  it('binding outside the table, as another kind or with other labels throws at once', () => {
    const { telemetry } = start();

    expect(() => telemetry.counter('validate_total')).toThrow(/no metric is called validate_total/);
    expect(() => telemetry.counter('toString')).toThrow(/no metric/);
    expect(() => telemetry.counter('sidegate_watchers')).toThrow(/is a gauge, not a counter/);
    expect(() => telemetry.histogram('sidegate_validate_duration_seconds')).toThrow(/has the labels \(provenance\)/);
    expect(() => telemetry.gauge('sidegate_watchers', { user: 'x' }, () => 1)).toThrow(TypeError);
  });

  it('every metric of the table can be bound and scraped, with its help', async () => {
    const rig = start();
    for (const [name, { kind, labels: names }] of Object.entries(metricTable)) {
      const labels = Object.fromEntries(names.map((label) => [label, 'x']));
      ({
        counter: () => rig.telemetry.counter(name, labels),
        histogram: () => rig.telemetry.histogram(name, labels),
        gauge: () => rig.telemetry.gauge(name, labels, () => 1),
      })[kind]();
    }

    const text = await rig.telemetry.metrics();
    expect(Object.keys(metricTable).length).toBeGreaterThan(35);
    for (const [name, { kind, help }] of Object.entries(metricTable)) {
      expect(text).toContain(`# HELP ${name} ${help}\n# TYPE ${name} ${kind}\n${name}`);
    }
  });

  it('bounds ascend, counters end in _total and names follow Prometheus', () => {
    for (const [name, shape] of Object.entries(metricTable)) {
      expect(name).toMatch(/^(sidegate|rpc_server)_[a-z0-9_]+$/);
      expect(name.endsWith('_total'), name).toBe(shape.kind === 'counter');
      expect(shape.bounds ?? []).toEqual((shape.bounds ?? []).toSorted((a, b) => a - b));
      expect((shape.bounds ?? []).length > 0, name).toBe(shape.kind === 'histogram');
    }
    expect(shapeOf('gauge', 'sidegate_watchers', {}).kind).toBe('gauge');
  });

  it('a blocked event loop is seen by the very next scrape, at its length or more', async () => {
    const rig = start();
    // Node samples from its first timer on.
    await new Promise((resolve) => setTimeout(resolve, 50));

    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);

    const all = (await sampleOf(rig, 'sidegate_event_loop_delay_seconds_bucket{le="+Inf"}')) ?? 0;
    const short = (await sampleOf(rig, 'sidegate_event_loop_delay_seconds_bucket{le="0.25"}')) ?? 0;
    expect(all - short).toBeGreaterThanOrEqual(1);
    expect(await sampleOf(rig, 'sidegate_event_loop_delay_seconds_sum')).toBeGreaterThan(0.28);
  });

  it('the event loop histogram only ever grows', async () => {
    const rig = start();
    await new Promise((resolve) => setTimeout(resolve, 50));
    const first = (await sampleOf(rig, 'sidegate_event_loop_delay_seconds_count')) ?? 0;
    await new Promise((resolve) => setTimeout(resolve, 50));
    const second = (await sampleOf(rig, 'sidegate_event_loop_delay_seconds_count')) ?? 0;

    expect(first).toBeGreaterThan(0);
    expect(second).toBeGreaterThan(first);
  });
});

describe('lines', () => {
  it('a JSON line has the time of the clock, the level, the message and the fields', () => {
    const rig = start();

    rig.telemetry.log.warn({ issuer: 'central', waitMs: 5 }, 'slow');

    expect(rig.lines).toEqual(['{"level":"warn","time":"2026-11-21T10:04:07.412Z","issuer":"central","waitMs":5,"message":"slow"}\n']);
  });

  it('lines below the level are not written', () => {
    const rig = start({ level: 'warn' });

    rig.telemetry.log.debug({}, 'one');
    rig.telemetry.log.info({}, 'two');
    rig.telemetry.log.error({}, 'three');

    expect(rig.objects().map(({ message }) => message)).toEqual(['three']);
  });

  it('fields do not take the place of what a line has of its own', () => {
    const rig = start();

    rig.telemetry.log.info({ level: 'debug', time: 'never', message: 'mine' }, 'theirs');

    expect(rig.objects()[0]).toMatchObject({ level: 'info', message: 'theirs', level_: 'debug', time_: 'never', message_: 'mine' });
  });

  it.each([
    'token',
    'secret',
    'password',
    'authorization',
    'raw',
    'credential',
    'Authorization',
    'accessToken',
    'client_secret',
    'X-Auth-Token',
    'tokens',
  ])('a field named %s says [redacted] at any depth', (name) => {
    const rig = start();

    rig.telemetry.log.info({ [name]: 'hunter2', list: [{ deep: { [name]: ['hunter2'] } }], map: new Map([[name, { a: 'hunter2' }]]) }, 'x');

    expect(rig.lines.join('')).not.toContain('hunter2');
    expect(rig.objects()[0]).toMatchObject({ [name]: '[redacted]', list: [{ deep: { [name]: '[redacted]' } }] });
  });

  it('names that only begin like a secret, counts and flags stay', () => {
    const fields = { tokenId: 'j1', token_size: 3, tokens: 18_402, rawLength: 4, password: null, secret: true };

    expect(redact(fields)).toEqual(fields);
  });

  const pki = `MIIC6QYJKoZIhvcNAQcCoIIC2jCC+tYC-AQEx${'a'.repeat(2_000)}==`;
  it.each([
    secret,
    jws,
    `Bearer ${'a'.repeat(30)}`,
    `failed for ${jws}: no`,
    jws.slice(0, 60),
    `no token: ${pki}`,
    `PKIZ_eJx${'a'.repeat(30)}=`,
  ])('what looks like a token is masked in texts and messages: %s', (text) => {
    const rig = start();

    rig.telemetry.log.info({ note: text, [text]: 1 }, text);

    expect(rig.lines.join('')).not.toMatch(/gAAAAABmZ9|eyJhbGciOi|aaaaaaaa/);
  });

  it('a line of a certificate stays', () => {
    const line = `MIIDFTCCAf2gAwIBAgIUfi/${'a'.repeat(41)}`;
    expect(line).toHaveLength(64);
    expect(redactText(line)).toBe(line);
  });

  it('a token that the cut of a long text leaves the head of is masked', () => {
    expect(redactText(`${'x '.repeat(2_044)}${jws}`)).not.toContain('eyJ');
  });

  it.each([4_095, 4_096, 4_097])('a text of %i characters is cut beyond 4,096', (length) => {
    expect(redactText('x'.repeat(length)).length).toBe(Math.min(length, 4_097));
    expect(redactText('x'.repeat(length)).endsWith('…')).toBe(length > 4_096);
  });

  it('an error tells what it is and why, its cause too, but not what a parser quotes or a library hangs on it', () => {
    const rig = start();
    const parse = (): Error => {
      try {
        JSON.parse(`${secret}"`);
      } catch (error) {
        return error as Error;
      }
      throw new Error('unreachable');
    };
    const error = new SidecarError('UNAVAILABLE', 'keystone did not answer', {
      reason: 'KEYSTONE_UNREACHABLE',
      cause: Object.assign(parse(), { body: 'hunter2' }),
    });

    rig.telemetry.log.error({ error }, 'x');
    rig.telemetry.log.error(error, 'y');

    expect(rig.lines.join('')).not.toMatch(/hunter2|gAAAA/);
    expect(rig.objects()[0]?.['error']).toMatchObject({
      name: 'SidecarError',
      message: 'keystone did not answer',
      code: 'UNAVAILABLE',
      reason: 'KEYSTONE_UNREACHABLE',
      cause: { name: 'SyntaxError' },
    });
    expect(rig.objects()[1]).toMatchObject({ message: 'y', error: { code: 'UNAVAILABLE' } });
  });

  it('bytes tell only their length, circles end, getters and readers that throw do no harm', () => {
    const rig = start();
    const circle: Record<string, unknown> = { at: 1n, bytes: Buffer.from('hunter2'), when: new Date(Number.NaN) };
    circle['self'] = circle;
    const broken = {
      get it(): string {
        throw new Error('no');
      },
    };

    rig.telemetry.log.info(circle, 'x');
    rig.telemetry.log.info(broken, 'y');

    expect(rig.objects()).toHaveLength(1);
    expect(rig.objects()[0]).toMatchObject({ at: '1', bytes: '[7 bytes]', when: 'no date' });
    const failing = start({
      destination: {
        write: () => {
          throw new Error('no reader');
        },
      },
    });
    expect(() => failing.telemetry.log.error({}, 'z')).not.toThrow();
  });

  it('nothing of a secret survives wherever in random fields it stands', () => {
    fc.assert(
      fc.property(
        fc.object({ maxDepth: 5, withMap: true, withSet: true, values: [fc.string(), fc.constant(jws), fc.constant(`x ${secret} y`)] }),
        (fields) => {
          expect(JSON.stringify(redact(fields))).not.toMatch(/eyJhbGciOi|gAAAAABmZ9/);
        },
      ),
    );
  });

  it('a pretty line is short, for people, and holds no control characters', () => {
    const rig = start({ format: 'pretty' });

    rig.telemetry.log.info({ issuer: 'central', what: 'two words', token: 'hunter2', evil: '\u001b[2J\u009b' }, 'served\u001b[31m');

    expect(rig.lines).toEqual([
      '10:04:07.412 info  served\\x1b[31m  issuer=central  what="two words"  token="[redacted]"  evil="\\u001b[2J\\x9b"\n',
    ]);
  });

  it('lines after closing are dropped', async () => {
    const rig = start();
    await rig.telemetry.close();

    rig.telemetry.log.error({}, 'late');

    expect(rig.lines).toEqual([]);
  });
});

describe('output', () => {
  function open(path: string, flags: number | string): number {
    const descriptor = openSync(path, flags);
    ends.push(() => closeSync(descriptor));
    return descriptor;
  }

  // A pipe that does not block, open at both ends: full when nobody reads it.
  function openPipe(): number {
    const path = join(directory(), 'pipe');
    execFileSync('mkfifo', [path]);
    return open(path, constants.O_RDWR | constants.O_NONBLOCK);
  }

  function readPipe(descriptor: number): string {
    const buffer = Buffer.alloc(65_536);
    try {
      return buffer.toString('utf8', 0, readSync(descriptor, buffer));
    } catch (_error) {
      // Nothing there yet.
      return '';
    }
  }

  it('closing writes every line first, in order', async () => {
    const path = join(directory(), 'out');
    const output = openOutput(open(path, 'a'), createFakeClock());
    const lines = Array.from({ length: 1_000 }, (_, at) => `line ${at} ü\n`);

    for (const line of lines) output.write(line);
    await output.close();
    output.write('late\n');

    expect(readFileSync(path, 'utf8')).toBe(lines.join(''));
  });

  it('a reader that stops holds nobody up, and gets the rest, whole and in order, when it reads on', async () => {
    const clock = createFakeClock();
    const pipe = openPipe();
    const output = openOutput(pipe, clock);
    const text = Array.from({ length: 20_000 }, (_, at) => `line ${at}\n`).join('');

    for (const line of text.match(/.*\n/g) ?? []) output.write(line);
    let read = '';
    while (read.length < text.length) {
      await clock.advance(50);
      read += readPipe(pipe);
    }

    expect(read).toBe(text);
    await output.close();
  });

  it('beyond its limit it drops lines, and keeps the older ones whole', async () => {
    const clock = createFakeClock();
    const pipe = openPipe();
    const output = openOutput(pipe, clock);
    output.write('x'.repeat(200_000));
    const line = `${'y'.repeat(1_023)}\n`;

    for (let at = 0; at < maxWaiting / line.length + 1; at++) output.write(line);
    output.write('z\n');
    let read = '';
    while (read.length < 200_000 + maxWaiting) {
      await clock.advance(50);
      read += readPipe(pipe);
    }

    expect(read).toBe('x'.repeat(200_000) + line.repeat(maxWaiting / line.length));
    await output.close();
  });

  it('closing waits a second for a reader that has stopped, no longer', async () => {
    const clock = createFakeClock();
    const output = openOutput(openPipe(), clock);
    output.write('x'.repeat(200_000));
    let closed = false;
    const closing = output.close().then(() => {
      closed = true;
    });

    await clock.advance(999);
    expect(closed).toBe(false);
    await clock.advance(1);
    await closing;

    expect(clock.waiting()).toBe(0);
  });

  it('what a full disk refuses is dropped, and closing ends', async () => {
    const output = openOutput(open('/dev/full', 'a'), createFakeClock());

    output.write('one\n');
    output.write('two\n');

    await expect(output.close()).resolves.toBeUndefined();
  });
});

describe('audit', () => {
  const line = {
    act: 'revoke',
    actor: 'unix:socket',
    outcome: 'done',
    selector: { kind: 'fit', conditions: [{ dimension: 'user', value: 'u1' }] },
    cursor: 'J:1',
  } as const;

  it('a line goes to its file, which only its owner may read', () => {
    const path = join(directory(), 'audit.jsonl');
    const rig = start({ auditFile: path });

    rig.telemetry.audit(line);
    rig.telemetry.audit({ act: 'refused', actor: 'tcp', outcome: 'PERMISSION_DENIED' });

    const written = readFileSync(path, 'utf8').split('\n');
    expect(written.map((one) => one && JSON.parse(one))).toEqual([
      { time: '2026-11-21T10:04:07.412Z', ...line },
      { time: '2026-11-21T10:04:07.412Z', act: 'refused', actor: 'tcp', outcome: 'PERMISSION_DENIED' },
      '',
    ]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(rig.lines).toEqual([]);
  });

  it('a file that is there is appended to and keeps its mode', async () => {
    const path = join(directory(), 'audit.jsonl');
    const first = start({ auditFile: path });
    first.telemetry.audit(line);
    await first.telemetry.close();
    chmodSync(path, 0o640);

    start({ auditFile: path }).telemetry.audit(line);

    expect(readFileSync(path, 'utf8').trimEnd().split('\n')).toHaveLength(2);
    expect(statSync(path).mode & 0o777).toBe(0o640);
  });

  it('without a file a line goes to the log at info, even where the log is quieter', () => {
    const rig = start({ level: 'error' });

    rig.telemetry.audit(line);

    expect(rig.objects()).toMatchObject([
      { level: 'info', audit: true, act: 'revoke', actor: 'unix:socket', outcome: 'done', cursor: 'J:1', message: 'revoke done' },
    ]);
  });

  it('a secret that was put into a line is redacted, in the file too', () => {
    const path = join(directory(), 'audit.jsonl');
    const rig = start({ auditFile: path });

    rig.telemetry.audit({ act: 'revoke', actor: 'a', outcome: 'done', selector: { token: 'hunter2' }, reason: `stolen: ${secret}` });

    expect(readFileSync(path, 'utf8')).not.toMatch(/hunter2|gAAAA/);
  });

  it('a file that cannot be opened stops the start', () => {
    expect(() => start({ auditFile: join(directory(), 'absent', 'audit.jsonl') })).toThrow(
      expect.objectContaining({ code: 'FAILED_PRECONDITION', reason: 'AUDIT_FILE' }),
    );
  });

  it('a file that takes no more is complained of once a minute, and no line is lost', async () => {
    const rig = start({ auditFile: '/dev/full' });

    rig.telemetry.audit(line);
    rig.telemetry.audit(line);
    await rig.clock.advance(59_999);
    rig.telemetry.audit(line);
    await rig.clock.advance(1);
    rig.telemetry.audit(line);

    expect(rig.objects().map((one) => one['audit'] ?? one['level'])).toEqual(['error', true, true, true, 'error', true]);
    expect(rig.objects()[0]).toMatchObject({ file: '/dev/full', error: { code: 'ENOSPC' } });
  });
});
