// A log of this sidecar's own, on its disk: for a fleet without a broker, whose other sidecars follow this one.

import { backoff } from '../core/backoff.ts';
import type { Clock, DependencyHealth, Engine, Logger, LogLink, LogRecord } from '../ports.ts';
import { LocalStore, type LocalStoreOptions } from './local-store.ts';
import { noLog } from './log-error.ts';

/** Where it is, and how long records are kept. */
export interface LocalLogOptions extends Omit<LocalStoreOptions, 'mostBytes'> {
  /** Absent: 4 GiB. */
  readonly mostBytes?: number;
}

/** What it needs of the world. */
export interface LocalLogDeps {
  readonly clock: Clock;
  readonly log: Logger;
  /** From 0 to below 1. */
  readonly random?: () => number;
}

const usualBytes = 4 * 1024 ** 3;
const readBatch = 256;
const pauses = { firstMs: 500, longestMs: 10_000 } as const;

/**
 * The log. It is open while somebody runs an engine of it, and this process alone has it. Positions rise by one. What is appended is on disk
 * when `append` resolves.
 */
export function createLocalLog(options: LocalLogOptions, deps: LocalLogDeps): Engine {
  const shared = new Shared({ mostBytes: usualBytes, ...options }, deps);
  const make = (): Engine => engineOf(shared, deps);
  return { ...make(), another: make };
}

/** The store, open for as long as somebody uses it. What opens and closes it goes one after the other. */
class Shared {
  readonly #options: LocalStoreOptions;
  readonly #deps: LocalLogDeps;
  #users = 0;
  #store: LocalStore | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: LocalStoreOptions, deps: LocalLogDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Rejects as `LocalStore.open`, or `by`. */
  async use(by: (store: LocalStore) => Promise<void>): Promise<void> {
    this.#users += 1;
    try {
      await by(await this.#inTurn(() => this.#opened()));
    } finally {
      this.#users -= 1;
      await this.#inTurn(() => this.#closedUnlessUsed());
    }
  }

  async #opened(): Promise<LocalStore> {
    if (this.#store?.signal.aborted === false) return this.#store;
    // It has failed: it is opened anew when it is closed.
    await this.#store?.close();
    this.#store = undefined;
    this.#store = await LocalStore.open(this.#options, this.#deps.clock);
    return this.#store;
  }

  async #closedUnlessUsed(): Promise<void> {
    if (this.#users > 0) return;
    const store = this.#store;
    this.#store = undefined;
    await store?.close();
  }

  #inTurn<Result>(task: () => Promise<Result>): Promise<Result> {
    const mine = this.#turn.then(task);
    this.#turn = mine.catch(() => undefined);
    return mine;
  }
}

function engineOf(shared: Shared, { clock, log, random = Math.random }: LocalLogDeps): Engine {
  let health: DependencyHealth = { reachable: false, problem: 'not opened yet' };
  let store: LocalStore | undefined;
  let failures = 0;
  return {
    name: 'local',
    async run(session, signal) {
      while (!signal.aborted) {
        try {
          await shared.use(async (opened) => {
            store = opened;
            failures = 0;
            health = { reachable: true, lastAnswerAtMs: clock.nowMs() };
            await session(linkOf(opened, signal));
          });
          health = { reachable: false, problem: 'the log was left' };
        } catch (error) {
          const problem = error instanceof Error ? error.message : 'unknown';
          if (health.problem !== problem && !signal.aborted) log.warn({ error }, 'the log of the fleet ended; it is opened again');
          health = { reachable: false, problem };
        }
        store = undefined;
        failures += 1;
        await clock.delay(backoff(pauses, failures, random), signal).catch(() => undefined);
      }
    },
    health() {
      if (store?.trimmedEarly !== true) return health;
      return { ...health, problem: 'records went before their time: it holds no more than 4 GiB' };
    },
  };
}

function linkOf(store: LocalStore, over: AbortSignal): LogLink {
  const signal = AbortSignal.any([store.signal, over]);
  return {
    signal,
    append: async (bytes) => {
      signal.throwIfAborted();
      await store.append(bytes);
    },
    async read(from, take, stop) {
      await readFrom(store, from, take, AbortSignal.any([signal, stop]));
      if (!stop.aborted) signal.throwIfAborted();
    },
  };
}

async function readFrom(
  store: LocalStore,
  from: number | undefined,
  take: (batch: readonly LogRecord[]) => Promise<void>,
  stop: AbortSignal,
): Promise<void> {
  if (!stop.aborted) await take([]);
  let hasBegun = false;
  for (let at = from ?? 0; !stop.aborted; ) {
    const before = store.last;
    const batch = await store.read(at, readBatch);
    if (stop.aborted) return;
    const [first, last] = [batch[0], batch.at(-1)];
    if (first !== undefined && last !== undefined) {
      // Whoever reads again begins with what he has read last, which is not there any more: so he notices.
      if (hasBegun && first.position > at) throw noLog('records were forgotten before they were read');
      hasBegun = true;
      await take(batch);
      at = last.position + 1;
    } else if (store.last === before) {
      await appended(store, stop);
    }
  }
}

/** Resolves when something is appended, or there is an end. */
function appended(store: LocalStore, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      takeBack();
      stop.removeEventListener('abort', done);
      resolve();
    };
    const takeBack = store.onChange(done);
    stop.addEventListener('abort', done, { once: true });
    if (stop.aborted || store.signal.aborted) done();
  });
}
