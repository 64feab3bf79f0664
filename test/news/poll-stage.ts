// A scripted Keystone with a list of revocation events, over HTTP, and the source that polls it on a clock that a test holds.

import { vi } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import { createRevocationEvents, type RevocationEventsOptions } from '../../src/news/keystone-revocation-events.ts';
import { createKeystone } from '../../src/upstreams/keystone.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { createHttpAuthority, type ReceivedRequest, type ScriptedAnswer } from '../fakes/http-authority.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';
import { createRecordingSink } from './recording-sink.ts';

/** What differs from the usual. */
export interface PollStageOptions extends Partial<RevocationEventsOptions> {
  readonly maxBodyBytes?: number;
  readonly random?: () => number;
  /** Questions that end without an answer in time. */
  readonly isLate?: (sinceMs: number) => boolean;
  /** What a run before has noted. */
  readonly notes?: Map<string, string>;
}

export type PollStage = Awaited<ReturnType<typeof createPollStage>>;

/** As Keystone writes them. */
export const isoOf = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}.000000Z`;

/** Sets it: no rows, nothing runs. Keystone's clock is ours, and `random` takes nothing off, unless a test says otherwise. */
export async function createPollStage(options: PollStageOptions = {}) {
  const { maxBodyBytes = 1_048_576, random = () => 0, isLate, notes = new Map<string, string>(), ...part } = options;
  const clock = createFakeClock();
  const telemetry = createFakeTelemetry();
  const authority = await createHttpAuthority();
  const sink = createRecordingSink();
  const rows: Record<string, unknown>[] = [];
  let aheadMs = 0;
  let answered = 0;
  let onList: ((request: ReceivedRequest, list: () => ScriptedAnswer) => ScriptedAnswer | Promise<ScriptedAnswer>) | undefined;

  const theirNowMs = (): number => clock.nowMs() + aheadMs;
  const sinceOf = ({ path }: ReceivedRequest): number => Date.parse(new URL(path, authority.url).searchParams.get('since') ?? '');

  /** Later than `since`, which is exclusive; as Keystone orders them. */
  function list(request: ReceivedRequest): ScriptedAnswer {
    const later = rows.filter((row) => typeof row['revoked_at'] !== 'string' || Date.parse(row['revoked_at']) > sinceOf(request));
    return { status: 200, headers: { date: new Date(theirNowMs()).toUTCString() }, body: { events: later, links: {} } };
  }
  authority.script(async (request) => {
    if (request.method === 'POST') {
      const nowMs = theirNowMs();
      const body = { token: { issued_at: isoOf(nowMs), expires_at: isoOf(nowMs + 86_400_000), user: { id: 'us' } } };
      return { status: 201, headers: { 'x-subject-token': 'ours' }, body };
    }
    const answer = onList === undefined ? list(request) : await onList(request, () => list(request));
    answered += 1;
    return answer;
  });
  const upstream = createKeystone(
    {
      name: 'central',
      url: `${authority.url}/v3`,
      login: { kind: 'application_credential', id: 'c', secret: async () => 'secret' },
      deadlineMs: 30_000,
      attempts: 1,
      maxBodyBytes,
    },
    { clock, log: telemetry.log },
  );
  const source = createRevocationEvents(
    {
      issuer: 'central',
      everyMs: 2_000,
      overlapMs: 60_000,
      sweepMs: 600_000,
      reachMs: 3_600_000,
      factsLifeMs: 300_000,
      ...part,
    },
    {
      clock,
      log: telemetry.log,
      random,
      list: async (sinceMs, signal) => {
        if (isLate?.(sinceMs)) throw new SidecarError('UNAVAILABLE', 'late', { reason: 'KEYSTONE_TIMEOUT' });
        return await upstream.revocationEvents(sinceMs, signal);
      },
      notes: {
        note: async (name, value) => void notes.set(name, value),
        noted: async (name) => notes.get(name),
      },
    },
  );
  const stopping = new AbortController();
  let running: Promise<void> | undefined;

  const listed = (): readonly ReceivedRequest[] => authority.requests.filter(({ method }) => method === 'GET');
  /** What the wire and the source do in real time is done when this holds. */
  const until = (condition: () => boolean): Promise<void> =>
    vi.waitFor(
      () => {
        if (!condition()) throw new Error('not yet');
      },
      { timeout: 30_000, interval: 1 },
    );

  return {
    authority,
    clock,
    telemetry,
    sink,
    source,
    notes,
    rows,
    until,
    /** Revokes: the row that Keystone writes now. */
    revoke(fields: object, atMs = theirNowMs()) {
      const at = isoOf(Math.floor(atMs / 1000) * 1000);
      rows.push({ ...fields, issued_before: at, revoked_at: at });
    },
    start() {
      running = source.run(sink, stopping.signal);
    },
    /** The `since` of each question so far, in milliseconds. */
    sinces: () => listed().map(sinceOf),
    asked: () => listed().length,
    answered: () => answered,
    /** Moves on until the poll has asked once more and what came is taken. */
    async nextPoll(ms = 2_000) {
      const before = sink.provenMs.length;
      await clock.advance(ms);
      await until(() => sink.provenMs.length > before);
    },
    /** The wait for what is said of a state: a poll that has been answered is not yet one that is done. */
    untilProven: (count: number) => until(() => sink.provenMs.length >= count),
    setAhead(ms: number) {
      aheadMs = ms;
    },
    answerLists(by: typeof onList) {
      onList = by;
    },
    async stop() {
      stopping.abort();
      await running;
    },
    async close() {
      stopping.abort();
      await running;
      await upstream.close();
      await authority.close();
    },
  };
}
