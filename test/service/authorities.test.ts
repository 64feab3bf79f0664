// Questions at the gate of an authority: who gives way, and what their failure says of it.

import { describe, expect, it } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import { Authorities, type AuthorityQuestion } from '../../src/service/authorities.ts';
import { Degradations } from '../../src/service/degradation.ts';
import { createFakeClock } from '../fakes/clock.ts';
import { createFakeIssuer } from '../fakes/issuer.ts';
import { createFakeTelemetry } from '../fakes/telemetry.ts';
import { settled } from './validation-stage.ts';

/** One authority that takes one question at a time. */
function stage() {
  const central = createFakeIssuer({ calls: { deadlineMs: 5000, concurrency: 1, queue: 8 } });
  const { issuer } = central;
  const [clock, telemetry] = [createFakeClock(), createFakeTelemetry()];
  const degradations = new Degradations({ clock, telemetry, maxLagMs: 10_000 });
  const authorities = new Authorities({ issuers: [issuer], clock, telemetry, degradations });
  /** What comes of a question, in one word; and how its deadline is passed. */
  const ask = (raw: string, question: AuthorityQuestion = {}): { readonly outcome: Promise<string>; late(): void } => {
    const deadline = new AbortController();
    const outcome = authorities.read(issuer, raw, deadline.signal, question).then(
      ({ kind }) => kind,
      (error: unknown) => (error instanceof SidecarError ? error.reason : String(error)),
    );
    return { outcome, late: () => deadline.abort() };
  };
  return { central, authorities, issuer, ask };
}

describe('S7 a question whose turn does not come', () => {
  it.each([
    ['that gives way has had no room, where the authority answers others', 'others', 'UPSTREAM_BUSY'],
    ['that gives way to nobody has had no answer', undefined, 'UPSTREAM_TIMEOUT'],
  ] as const)('%s', async (_, yieldsTo, reason) => {
    const { central, ask } = stage();
    const held = central.hold();
    const other = ask('other');
    const waiting = ask('t', { yieldsTo });
    await settled();
    waiting.late();
    expect(await waiting.outcome).toBe(reason);
    held.all();
    expect(await other.outcome).toBe('inactive');
  });

  it('has had no answer either where the authority does not answer others', async () => {
    const { central, ask } = stage();
    central.isDown();
    expect(await ask('before').outcome).toBe('UPSTREAM_DOWN');
    const held = central.hold();
    const other = ask('other');
    const waiting = ask('t', { yieldsTo: 'others' });
    await settled();
    waiting.late();
    expect(await waiting.outcome).toBe('UPSTREAM_TIMEOUT');
    held.all();
    await other.outcome;
  });

  it('says nothing of the authority', async () => {
    const { central, ask, authorities, issuer } = stage();
    const held = central.hold();
    const other = ask('other');
    const waiting = ask('t');
    await settled();
    waiting.late();
    await waiting.outcome;
    expect(authorities.hasRoom(issuer, 'others and doubt')).toBe(true);
    held.all();
    await other.outcome;
  });
});
