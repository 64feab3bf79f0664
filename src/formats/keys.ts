// An issuer's key set over time: fetched, kept while the issuer is down, asked again for an unknown key, and told when a key leaves.

import { SidecarError } from '../core/errors.ts';
import type { Clock, DependencyHealth, Logger } from '../ports.ts';
import { DepartedKeys } from './departed-keys.ts';
import { candidates, type JwkSet, type KeyDemand, nameOf, readJwkSet, type VerificationKey } from './jwk-set.ts';
import { createKeySource, type KeySourceOptions } from './key-source.ts';
import { orAbort } from './or-abort.ts';

/** What a key set needs to know. Durations in milliseconds. */
export interface KeySetOptions extends KeySourceOptions {
  /** Name of the issuer in the configuration, for log lines. */
  readonly name: string;
  /** For one fetch, with its discovery. */
  readonly deadlineMs: number;
  /** The only ones that a key may be used for. */
  readonly algorithms: readonly string[];
  /** A set is fetched again at this age, up to a tenth sooner. A file is looked at each second instead. */
  readonly keysTimeMs: number;
  /** An unknown key makes the set be fetched again at most this often: random `kid`s cost the issuer nothing. */
  readonly keysCooldownMs: number;
  /** How long a set may serve beyond `keysTimeMs` while nothing newer can be had. */
  readonly keysStaleWhileDownMs: number;
}

/** The key that verified, or none. `isNew`: the set was fetched after the question. */
export interface FoundKey {
  readonly key: VerificationKey | undefined;
  readonly isNew: boolean;
}

/** The keys of one issuer. */
export interface KeySet {
  /**
   * The key of the set for which `verifies` holds; undefined where none does. By `kid` where there is one, else every key of that
   * algorithm, at most 16. Where the set has no such key it is fetched once more, within the cooldown.
   * Throws SidecarError: UNAVAILABLE where no set that may be used can be had, or where the key is unknown and the issuer cannot be
   * asked; DEADLINE_EXCEEDED when `signal` aborts first.
   */
  find(demand: KeyDemand, verifies: (key: VerificationKey) => Promise<boolean>, signal: AbortSignal): Promise<FoundKey>;
  /** How the issuer's clock stood to ours at the last fetch (S1). */
  clockOffsetMs(): number | undefined;
  /** As TokenFormat.health. */
  health(): DependencyHealth;
  /** As TokenFormat.run. Resolves when `signal` aborts. */
  run(signal: AbortSignal, invalidate: (keyId: string) => Promise<void>): Promise<void>;
}

/** How often `run` looks whether something is due, a file has changed, or an invalidation waits to be told again. */
const tickMs = 1_000;

/** The set in use, and when the fetch that last confirmed it began. */
interface Held {
  readonly set: JwkSet;
  readonly confirmedMonoMs: number;
}

/** A key set. Nothing is fetched before `run` or the first `find`. Throws SidecarError INVALID_ARGUMENT where the location is none. */
export function createKeySet(options: KeySetOptions, deps: { readonly clock: Clock; readonly log: Logger }): KeySet {
  const { clock, log } = deps;
  const source = createKeySource(options, clock);
  const never = new AbortController().signal;
  let held: Held | undefined;
  let flight: Promise<void> | undefined;
  /** Fetches begun: says what was asked after what. */
  let begun = 0;
  let failures = 0;
  let problem: string | undefined = 'no key set has been fetched yet';
  let lastAnswerAtMs: number | undefined;
  let clockOffsetMs: number | undefined;
  let dueMonoMs = Number.NEGATIVE_INFINITY;
  let lastForcedMonoMs = Number.NEGATIVE_INFINITY;
  const departed = new DepartedKeys(options.name, log);

  /** One at a time; never rejects: what came of it is in the state. */
  function fly(signal: AbortSignal): Promise<void> {
    flight ??= refresh(signal).finally(() => {
      flight = undefined;
    });
    return flight;
  }

  let limit: AbortSignal | undefined;

  async function refresh(signal: AbortSignal): Promise<void> {
    const beganMonoMs = clock.monotonicMs();
    begun += 1;
    // Held by `limit` until the end: node 20 may collect a timeout that only AbortSignal.any refers to.
    limit = AbortSignal.timeout(options.deadlineMs);
    try {
      const limited = AbortSignal.any([signal, limit]);
      const fetched = await orAbort(source.fetch(limited), limited);
      const set = fetched.kind === 'unchanged' ? held?.set : await readJwkSet(fetched.document, options.algorithms);
      if (set === undefined) throw new SidecarError('UNAVAILABLE', 'What was sent is no JWK Set', { reason: 'KEYS_UNREADABLE' });
      source.accepted();
      replace(set);
      held = { set, confirmedMonoMs: beganMonoMs };
      lastAnswerAtMs = clock.nowMs();
      if (fetched.kind === 'document') clockOffsetMs = fetched.clockOffsetMs;
      if (failures > 0) log.info({ issuer: options.name }, 'the key set can be had again');
      failures = 0;
      problem = set.keyCount === 0 ? 'the key set has no usable key' : undefined;
      // Sidecars that started together shall not ask together.
      dueMonoMs = clock.monotonicMs() + (source.kind === 'file' ? tickMs : options.keysTimeMs * (0.9 + 0.1 * Math.random()));
    } catch (error) {
      // We stop: that says nothing about the issuer.
      if (signal.aborted) return;
      const said = error instanceof SidecarError ? error.message : 'The key set cannot be read';
      if (said !== problem || failures === 0) {
        log.warn({ issuer: options.name, problem: said, keepsOldKeys: held !== undefined }, 'no key set could be had');
      }
      failures += 1;
      problem = said;
      const backoffMs = source.kind === 'file' ? tickMs : Math.min(tickMs * 2 ** Math.min(failures - 1, 16), options.keysCooldownMs);
      dueMonoMs = clock.monotonicMs() + backoffMs;
    }
    departed.tell();
  }

  function replace(next: JwkSet): void {
    const before = held?.set;
    if (before === next) return;
    const stays = new Set(next.keys.map(nameOf));
    const left = before?.keys.filter((key) => !stays.has(nameOf(key))) ?? [];
    for (const key of left) departed.add(key.keyId);
    if (before !== undefined && left.length === 0 && before.keys.length === next.keys.length) return;
    const fields = { issuer: options.name, keySet: next.digest, keys: next.keyCount, ignored: next.ignoredCount };
    log.info({ ...fields, left: left.length }, 'the key set has changed');
    if (next.privateCount > 0) log.warn({ ...fields, count: next.privateCount }, 'the key set gives away private keys: replace them');
    if (next.keyCount === 0) log.warn(fields, 'the key set has no usable key');
  }

  const ageMs = (): number => (held === undefined ? Number.POSITIVE_INFINITY : clock.monotonicMs() - held.confirmedMonoMs);

  /** A set that may be used. Waits for a fetch only where there is hope and need: while the issuer is down old keys serve at once. */
  async function usable(signal: AbortSignal): Promise<JwkSet> {
    if (flight === undefined && clock.monotonicMs() >= dueMonoMs) void fly(never);
    const mayServe = ageMs() <= options.keysTimeMs + options.keysStaleWhileDownMs;
    const mustWait = !mayServe || (ageMs() > options.keysTimeMs && failures === 0);
    if (flight !== undefined && mustWait) await orAbort(flight, signal);
    if (held === undefined || ageMs() > options.keysTimeMs + options.keysStaleWhileDownMs) throw unavailable();
    return held.set;
  }

  /** A set from a fetch that began after the `begunBefore`th; undefined where the one we have must do. */
  async function newer(begunBefore: number, signal: AbortSignal): Promise<JwkSet | undefined> {
    const asked = begun > begunBefore;
    if (flight === undefined && !asked) {
      const nowMonoMs = clock.monotonicMs();
      if (nowMonoMs - lastForcedMonoMs >= options.keysCooldownMs) {
        lastForcedMonoMs = nowMonoMs;
        void fly(never);
      }
    }
    const waited = flight !== undefined;
    if (flight !== undefined) await orAbort(flight, signal);
    // Unknown here, and nobody to ask: that is no evidence against the token.
    if (failures > 0) throw unavailable();
    return waited || asked ? held?.set : undefined;
  }

  function unavailable(): SidecarError {
    const retryAfterMs = Math.max(1, Math.ceil(dueMonoMs - clock.monotonicMs()));
    const why = problem === undefined ? '' : `: ${problem}`;
    return new SidecarError('UNAVAILABLE', `The keys of issuer ${options.name} are not available${why}`, {
      reason: 'KEYS_UNAVAILABLE',
      retryAfterMs,
    });
  }

  return {
    clockOffsetMs: () => clockOffsetMs,
    async find(demand, verifies, signal) {
      const begunBefore = begun;
      const set = await usable(signal);
      const known = candidates(set, demand);
      const found = await firstThat(verifies, known);
      // A kid that the set has is judged by what it has. Without a kid the key may be one that we have not seen.
      if (found !== undefined) return { key: found, isNew: false };
      if (demand.kid !== undefined && known.length > 0) return { key: undefined, isNew: false };
      const next = await newer(begunBefore, signal);
      if (next === undefined) return { key: undefined, isNew: false };
      const tried = new Set(known.map(nameOf));
      const key = await firstThat(
        verifies,
        candidates(next, demand).filter((one) => !tried.has(nameOf(one))),
      );
      return { key, isNew: true };
    },

    health: () => ({
      reachable: failures === 0 && held !== undefined,
      ...(problem === undefined ? {} : { problem }),
      ...(lastAnswerAtMs === undefined ? {} : { lastAnswerAtMs }),
      ...(held === undefined ? {} : { keySetDigest: held.set.digest, keyCount: held.set.keyCount }),
    }),

    async run(signal, invalidate) {
      departed.listener(invalidate);
      try {
        while (!signal.aborted) {
          if (flight === undefined && clock.monotonicMs() >= dueMonoMs) void fly(signal);
          departed.tell();
          await clock.delay(tickMs, signal);
        }
      } catch (error) {
        // The delay rejects when we are told to stop; nothing else ends this loop quietly.
        if (!signal.aborted) throw error;
      } finally {
        departed.listener(undefined);
        await flight;
      }
    },
  };
}

async function firstThat(
  verifies: (key: VerificationKey) => Promise<boolean>,
  keys: readonly VerificationKey[],
): Promise<VerificationKey | undefined> {
  for (const key of keys) if (await verifies(key)) return key;
  return undefined;
}
