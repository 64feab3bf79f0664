// What every Upstream must do, whoever the authority is.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import type { ReadOptions, Upstream } from '../../src/ports.ts';

/** An upstream, and its authority in the hands of the suite. Each test gets one of its own. */
export interface UpstreamHarness {
  readonly upstream: Upstream;
  /** A token that the authority knows, of a user other than ours. */
  readonly good: { readonly token: string; readonly userId: string };
  /** Has the shape of a token, and nobody issued it. */
  readonly unknown: string;
  /** Where it can be told of revocations: a good token that nothing else is about. */
  readonly disposable?: string;
  /** Where it may speak of tokens that have ended: one of those. */
  readonly ended?: string;
  /** Where it has catalogs: a good token with the value of its catalog. */
  readonly catalogOf?: { readonly token: string; readonly catalog: unknown };
  /** Every secret there is: raw tokens, passwords. Looked for in errors and in `logged()`. */
  readonly secrets: readonly string[];
  /** From now on connections are refused. */
  stop(): Promise<void>;
  /** Undoes `stop`. */
  resume(): Promise<void>;
  /** From now on requests are received and not answered. */
  hang(): Promise<void>;
  /** Resolves when a request that hangs has arrived. */
  hanging(): Promise<void>;
  /** Makes the authority refuse what the upstream authenticates with at present; renewing it gives one that it takes. */
  revokeOurCredential(): Promise<void>;
  /** How often our credential has been fetched or read anew since the start. */
  renewals(): number;
  /** All that was logged. */
  logged(): string;
  close(): Promise<void>;
}

/** How long the upstream of a test may wait, in milliseconds, and what not every upstream can. */
export interface UpstreamTraits {
  readonly hasCatalogs?: boolean;
  readonly speaksOfEnded?: boolean;
  readonly revokes?: boolean;
  /** Enough for a healthy authority to log us in and to answer a hundred questions at once. */
  readonly healthyMs: number;
  /** Enough for it to log us in and to answer one. The test of a hanging authority lasts as long. */
  readonly hangingMs: number;
}

/**
 * Runs the suite `name`. `makeHarness` starts a fresh, healthy authority (or takes a share of one) that this upstream, whose
 * deadline is `deadlineMs`, has not asked yet.
 */
export function upstreamConformance(
  name: string,
  makeHarness: (deadlineMs: number) => Promise<UpstreamHarness>,
  traits: Partial<UpstreamTraits> = {},
): void {
  const deadlines = { healthyMs: traits.healthyMs ?? 10_000, hangingMs: traits.hangingMs ?? 1_000 };
  const { hasCatalogs = false, speaksOfEnded = false, revokes = false } = traits;
  describe(`${name} as an Upstream`, () => {
    let harness: UpstreamHarness;
    beforeEach(async () => {
      harness = await makeHarness(deadlines.healthyMs);
    });
    afterEach(async () => {
      const logged = harness.logged();
      await harness.close();
      expect(harness.secrets.filter((secret) => logged.includes(secret))).toEqual([]);
    });

    const ask = (token = harness.good.token, signal = new AbortController().signal) => harness.upstream.ask(token, signal);
    const itWhere = (holds: boolean, title: string, run: () => Promise<void>): void => {
      if (holds) it(title, run);
    };
    const askFor = (token: string | undefined, options: ReadOptions) =>
      harness.upstream.ask(token ?? expect.unreachable('the harness lacks a token'), new AbortController().signal, options);
    const revoke = (signal = new AbortController().signal) => {
      const telling = harness.upstream.revoke?.(harness.disposable ?? expect.unreachable('the harness lacks a token'), signal);
      return telling ?? expect.unreachable('it cannot be told');
    };

    async function noAnswer(asking: Promise<unknown>): Promise<SidecarError> {
      const error = await asking.then(
        (reading) => expect.unreachable(`it answered ${JSON.stringify(reading)}`),
        (cause: unknown) => cause,
      );
      expect(error).toBeInstanceOf(SidecarError);
      const told = everything(error);
      expect(harness.secrets.filter((secret) => told.includes(secret))).toEqual([]);
      return error as SidecarError;
    }

    it('gives the facts of a good token', async () => {
      const reading = await ask();
      expect(reading).toMatchObject({ kind: 'facts', provenance: 'authority', facts: { token: { user: { id: harness.good.userId } } } });
    });

    it('says that a token nobody issued is inactive', async () => {
      expect(await ask(harness.unknown)).toMatchObject({ kind: 'inactive', reason: 'REFUSED' });
    });

    it('has no answer while the authority is down, and answers again when it is back', async () => {
      await ask();
      await harness.stop();
      const error = await noAnswer(ask());
      expect(error.code).toBe('UNAVAILABLE');
      expect(error.retryAfterMs).toBeGreaterThan(0);
      expect(harness.upstream.health()).toMatchObject({ reachable: false, problem: expect.stringMatching(/./) });
      await harness.resume();
      expect(await ask()).toMatchObject({ kind: 'facts' });
      expect(harness.upstream.health()).toMatchObject({ reachable: true, lastAnswerAtMs: expect.any(Number) });
    });

    it('does not call an unknown token inactive while the authority is down', async () => {
      await harness.stop();
      expect((await noAnswer(ask(harness.unknown))).code).toBe('UNAVAILABLE');
    });

    it('ends by its deadline when the authority hangs', async () => {
      await harness.close();
      harness = await makeHarness(deadlines.hangingMs);
      await ask();
      await harness.hang();
      const beganMs = performance.now();
      const error = await noAnswer(ask());
      expect(error.code).toBe('UNAVAILABLE');
      expect(performance.now() - beganMs).toBeLessThan(deadlines.hangingMs + 2_000);
    });

    it('ends soon when its caller leaves, and that says nothing about the authority', async () => {
      await ask();
      await harness.hang();
      const caller = new AbortController();
      const asking = ask(harness.good.token, caller.signal);
      await harness.hanging();
      const leftAtMs = performance.now();
      caller.abort();
      expect((await noAnswer(asking)).code).toBe('CANCELLED');
      expect(performance.now() - leftAtMs).toBeLessThan(deadlines.healthyMs / 2);
      expect(harness.upstream.health().reachable).toBe(true);
    });

    it('asks nothing for a caller that has left already', async () => {
      expect((await noAnswer(ask(harness.good.token, AbortSignal.abort()))).code).toBe('CANCELLED');
    });

    itWhere(hasCatalogs, 'tells the catalog where it is asked for, and the same facts with and without', async () => {
      const { token, catalog } = harness.catalogOf ?? expect.unreachable('the harness lacks a catalog');
      const without = await askFor(token, {});
      const reading = await askFor(token, { catalog: true });
      const found = reading.kind === 'facts' ? reading : expect.unreachable(reading.reason);
      expect(JSON.parse(found.catalog ?? '')).toEqual(catalog);
      expect(without).toMatchObject({ kind: 'facts', facts: { identity: found.facts.identity, token: found.facts.token } });
      expect(without).not.toHaveProperty('catalog');
    });

    itWhere(!hasCatalogs, 'has no catalog, asked or not', async () => {
      expect((await askFor(harness.good.token, { catalog: true })).kind).toBe('facts');
      expect(await askFor(harness.good.token, { catalog: true })).toMatchObject({
        facts: { token: { user: { id: harness.good.userId } } },
      });
      expect(await askFor(harness.good.token, {})).not.toHaveProperty('catalog');
    });

    itWhere(speaksOfEnded, 'says of a token that has ended what it was only where that is demanded', async () => {
      expect(await askFor(harness.ended, {})).toMatchObject({ kind: 'inactive', reason: 'REFUSED' });
      expect(await askFor(harness.ended, { allowExpired: true })).toMatchObject({ kind: 'facts' });
      expect(await askFor(harness.ended, {})).toMatchObject({ kind: 'inactive', reason: 'REFUSED' });
      expect(await askFor(harness.unknown, { allowExpired: true })).toMatchObject({ kind: 'inactive', reason: 'REFUSED' });
    });

    itWhere(!revokes, 'cannot be told of revocations', async () => {
      expect(harness.upstream.revoke).toBe(undefined);
    });

    itWhere(revokes, 'is told of a revocation: the token is dead there, and telling it again is accepted', async () => {
      expect((await ask(harness.disposable)).kind).toBe('facts');
      expect(await revoke()).toBe('accepted');
      expect(await ask(harness.disposable)).toMatchObject({ kind: 'inactive', reason: 'REFUSED' });
      expect(await revoke()).toBe('accepted');
      expect((await ask()).kind).toBe('facts');
    });

    itWhere(revokes, 'has not been told while it is down, and is when it is back', async () => {
      await harness.stop();
      const error = await noAnswer(revoke());
      expect(error.code).toBe('UNAVAILABLE');
      expect(error.retryAfterMs).toBeGreaterThan(0);
      await harness.resume();
      expect((await ask(harness.disposable)).kind).toBe('facts');
      expect(await revoke()).toBe('accepted');
      expect((await ask(harness.disposable)).kind).toBe('inactive');
    });

    itWhere(revokes, 'is told nothing for a caller that has left already', async () => {
      expect((await noAnswer(revoke(AbortSignal.abort()))).code).toBe('CANCELLED');
      expect((await ask(harness.disposable)).kind).toBe('facts');
    });

    it('renews our credential once for a hundred calls that find it revoked, and answers them all rightly', async () => {
      await ask();
      const before = harness.renewals();
      await harness.revokeOurCredential();
      const tokens = Array.from({ length: 100 }, (_, n) => (n % 4 === 3 ? harness.unknown : harness.good.token));
      const readings = await Promise.all(tokens.map((token) => ask(token)));
      expect(readings.map((reading) => reading.kind)).toEqual(tokens.map((token) => (token === harness.unknown ? 'inactive' : 'facts')));
      expect(harness.renewals() - before).toBe(1);
    });
  });
}

// An error and all that it carries, whether or not it would be printed.
function everything(value: unknown, depth = 0): string {
  if (typeof value !== 'object' || value === null || depth > 6) return String(value);
  return Reflect.ownKeys(value)
    .map((key) => `${String(key)}: ${everything(Reflect.get(value, key), depth + 1)}`)
    .join('\n');
}
