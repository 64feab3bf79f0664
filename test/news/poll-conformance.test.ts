// The poll held to what every source of news must do, over HTTP and the clock of this machine.

import { createRevocationEvents } from '../../src/news/keystone-revocation-events.ts';
import { systemClock } from '../../src/sidecar.ts';
import { createKeystone, type Keystone } from '../../src/upstreams/keystone.ts';
import { newsSourceConformance } from '../conformance/news-source.ts';
import { createHttpAuthority, type ReceivedRequest, type ScriptedAnswer } from '../fakes/http-authority.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';
import { isoOf } from './poll-stage.ts';

newsSourceConformance(
  'the poll of revocation events',
  async () => {
    const { log } = createFakeTelemetry();
    const authority = await createHttpAuthority();
    const rows: object[] = [];
    const notes = new Map<string, string>();
    const upstreams: Keystone[] = [];
    let isFrozen = false;

    function answer(request: ReceivedRequest): ScriptedAnswer {
      if (isFrozen) return { kind: 'hang' };
      if (request.method === 'POST') {
        const nowMs = Date.now();
        const body = { token: { issued_at: isoOf(nowMs), expires_at: isoOf(nowMs + 3_600_000), user: { id: 'us' } } };
        return { status: 201, headers: { 'x-subject-token': 'our-own-token' }, body };
      }
      const sinceMs = Date.parse(new URL(request.path, authority.url).searchParams.get('since') ?? '');
      const later = rows.filter((row) => Date.parse((row as { readonly revoked_at: string }).revoked_at) > sinceMs);
      return { status: 200, body: { events: later } };
    }
    authority.script(answer);

    return {
      source() {
        const upstream = createKeystone(
          {
            name: 'central',
            url: `${authority.url}/v3`,
            login: { kind: 'application_credential', id: 'c', secret: async () => 'our-own-secret' },
            deadlineMs: 2_000,
            attempts: 1,
            maxBodyBytes: 10_000,
          },
          { clock: systemClock, log },
        );
        upstreams.push(upstream);
        return createRevocationEvents(
          { issuer: 'central', everyMs: 200, overlapMs: 1_000, sweepMs: 600_000, reachMs: 3_600_000, factsLifeMs: 300_000 },
          {
            clock: systemClock,
            log,
            random: Math.random,
            list: (sinceMs, signal) => upstream.revocationEvents(sinceMs, signal),
            notes: { note: async (key, value) => void notes.set(key, value), noted: async (key) => notes.get(key) },
          },
        );
      },
      async happen(id) {
        rows.push({ user_id: id, issued_before: isoOf(Date.now()), revoked_at: isoOf(Date.now()) });
      },
      // More at once than a reply may hold.
      async lose() {
        for (let n = 0; n < 200; n += 1) rows.push({ audit_id: `a${n}`, issued_before: isoOf(Date.now()), revoked_at: isoOf(Date.now()) });
      },
      stop: () => authority.stop(),
      start: () => authority.resume(),
      async freeze() {
        isFrozen = true;
      },
      async thaw() {
        isFrozen = false;
      },
      monotonicMs: () => systemClock.monotonicMs(),
      secrets: ['our-own-token', 'our-own-secret'],
      async close() {
        await Promise.all(upstreams.map((upstream) => upstream.close()));
        await authority.close();
      },
    };
  },
  { loses: true },
);
