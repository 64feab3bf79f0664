// The tour of `sidegate dev`: the whole idea, played against the running sidecar. What it says is what has just happened and been measured.

import { type Answer, type Client, connect, formatCursor, type Invalidation, type NearCache, NoAnswerError } from '../client/index.ts';
import type { Clock } from '../ports.ts';
import { systemClock } from '../sidecar.ts';
import type { Dev } from './dev.ts';

/** How it is played. */
export interface TourOptions {
  readonly clock?: Clock;
  /** Time for the reader after each step; default 2,000. */
  readonly pauseMs?: number;
}

/** How long is waited for what must come. */
const patienceMs = 5_000;
const warmCalls = 101;
const nearCalls = 10_001;

/**
 * Plays the tour and tells it line by line, until its end or until `signal` aborts. It stops the issuer of `dev`.
 * Answers whether everything went as Sidegate promises; what did not is marked with a ✗.
 */
export async function playTour(dev: Dev, say: (line: string) => void, signal: AbortSignal, options: TourOptions = {}): Promise<boolean> {
  const client = connect({ address: dev.socket });
  const stage = new Stage({ dev, client, say, signal, clock: options.clock ?? systemClock, pauseMs: options.pauseMs ?? 2000 });
  try {
    await stage.play();
  } catch (error) {
    if (signal.aborted) return false;
    if (!(error instanceof NoAnswerError)) throw error;
    stage.claim(false, `no answer: ${error.code} ${error.message}`);
  } finally {
    client.close();
  }
  return stage.asPromised;
}

interface StageParts {
  readonly dev: Dev;
  readonly client: Client;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly pauseMs: number;
}

class Stage {
  readonly #parts: StageParts;
  readonly #seen: Invalidation[] = [];
  #isWatching = false;
  #step = 0;
  asPromised = true;

  constructor(parts: StageParts) {
    this.#parts = parts;
  }

  /** Says what has happened; `held`: as promised. */
  claim(held: boolean, what: string): void {
    if (!held) this.asPromised = false;
    this.#parts.say(`   ${held ? '✓' : '✗'} ${what}`);
  }

  async play(): Promise<void> {
    const { dev, client } = this.#parts;
    const near = client.nearCache();
    const watching = this.#watch();
    try {
      await this.#validateTwice();
      await this.#cacheNearby(near);
      await this.#revoke(near);
      await this.#revokeMany();
      await this.#loseTheAuthority();
      this.#parts.say(`\nThat was all of it, on ${dev.socket}. Without --tour it stays, for you to try.`);
    } finally {
      near.close();
      client.close();
      await watching;
    }
  }

  async #validateTwice(): Promise<void> {
    await this.#next('Is robot’s token good? Its authority is asked once.');
    const token = this.#token('robot');
    const cold = await this.#timed(() => this.#parts.client.validate(token));
    this.claim(cold.value.active && cold.value.provenance === 'authority', `${told(cold.value)}, ${ms(cold.tookMs)}`);
    const warm = await this.#median(warmCalls, () => this.#parts.client.validate(token));
    this.claim(
      warm.value.active && warm.value.provenance === 'memory',
      `${warmCalls} times more: ${told(warm.value)}, ${ms(warm.tookMs)} (median, one by one over the socket)`,
    );
  }

  async #cacheNearby(near: NearCache): Promise<void> {
    await this.#next('This process may keep the answer itself: a near cache, which Watch keeps true.');
    const token = this.#token('alice');
    await this.#until(() => this.#isWatching && near.stats().proven);
    const asked = await this.#timed(() => near.validate(token));
    this.claim(asked.value.active, `alice’s token, asked of the sidecar: ${told(asked.value)}, ${ms(asked.tookMs)}`);
    const before = near.stats();
    const hit = await this.#median(nearCalls, () => near.validate(token));
    const hits = near.stats().hits - before.hits;
    this.claim(
      hit.value.active && hits === nearCalls && near.stats().asked === before.asked,
      `${nearCalls.toLocaleString('en-US')} times more: ${hits.toLocaleString('en-US')} hits in this process, ${ms(hit.tookMs)} (median), and nobody was asked`,
    );
  }

  async #revoke(near: NearCache): Promise<void> {
    await this.#next('Now alice’s token is revoked, by somebody who holds it.');
    const { client, clock } = this.#parts;
    const token = this.#token('alice');
    const startedMs = clock.monotonicMs();
    const revoked = await client.revoke({ token }, { reason: 'the tour' });
    this.claim(true, `revoked and applied after ${ms(clock.monotonicMs() - startedMs)}, entry ${revoked.entryId.slice(0, 12)}…`);
    const event = await this.#until(() => this.#seen.find(({ entryId }) => entryId === revoked.entryId));
    this.claim(event !== undefined, event ? `Watch tells everybody: ${formatCursor(event.cursor)} ${event.effect}` : 'Watch told nothing');
    const forgotten = await this.#until(() => (near.peek(token) === undefined ? true : undefined));
    this.claim(forgotten === true, `after ${ms(clock.monotonicMs() - startedMs)} in all the near cache has dropped its answer`);
    const answer = await near.validate(token);
    this.claim(!answer.active && answer.reason === 'REVOKED', `the very next call: ${told(answer)}`);
  }

  async #revokeMany(): Promise<void> {
    const { dev, client } = this.#parts;
    await this.#next('One invalidation may be about many tokens: everything that bob has, seen here before or not.');
    const another = await dev.issuer.mint({ name: 'bob', kind: 'jwt', roles: ['admin'] });
    const first = this.#token('bob');
    const before = await client.validate(first);
    await client.revoke({ selector: { issuer: 'dev', userId: 'bob' } }, { reason: 'the tour' });
    const known = await client.validate(first);
    const unseen = await client.validate(another.token);
    this.claim(before.active && !known.active && known.reason === 'REVOKED', `the token seen before: ${told(before)}, now ${told(known)}`);
    this.claim(!unseen.active && unseen.reason === 'REVOKED', `a token of his that nobody has shown yet: ${told(unseen)}`);
    const robot = await client.validate(this.#token('robot'));
    this.claim(robot.active, `robot is not concerned: ${told(robot)}`);
  }

  async #loseTheAuthority(): Promise<void> {
    const { dev, client } = this.#parts;
    await this.#next('The authority goes away.');
    const stranger = await dev.issuer.mint({ name: 'stranger', kind: 'opaque' });
    await dev.stopIssuer();
    const known = await client.validate(this.#token('robot'));
    this.claim(known.active, `robot, whom we know: ${told(known)}`);
    try {
      const answer = await client.validate(stranger.token);
      this.claim(false, `a good token that was never seen: ${told(answer)}`);
    } catch (error) {
      if (!(error instanceof NoAnswerError)) throw error;
      const held = error.code === 'UNAVAILABLE';
      this.claim(held, `a good token that was never seen: no answer (${error.code} ${error.reason}), which is neither yes nor no`);
    }
  }

  async #next(title: string): Promise<void> {
    const { say, clock, pauseMs, signal } = this.#parts;
    if (this.#step > 0) await clock.delay(pauseMs, signal);
    this.#step += 1;
    say(`\n${this.#step}. ${title}`);
    await clock.delay(pauseMs / 2, signal);
  }

  /** Ends with the client. */
  async #watch(): Promise<void> {
    for await (const event of this.#parts.client.watch()) {
      if (event.kind === 'opened') this.#isWatching = true;
      if (event.kind === 'invalidation') this.#seen.push(event);
    }
  }

  /** What `look` finds, or undefined where it finds nothing in time. */
  async #until<Value>(look: () => Value | undefined): Promise<Value | undefined> {
    const { clock, signal } = this.#parts;
    const endsAtMs = clock.monotonicMs() + patienceMs;
    for (;;) {
      const found = look();
      if ((found !== undefined && found !== false) || clock.monotonicMs() >= endsAtMs) return found;
      await clock.delay(1, signal);
    }
  }

  async #timed<Value>(call: () => Promise<Value>): Promise<{ readonly value: Value; readonly tookMs: number }> {
    const startedMs = this.#parts.clock.monotonicMs();
    const value = await call();
    return { value, tookMs: this.#parts.clock.monotonicMs() - startedMs };
  }

  /** The last value, and the median time. `count` is odd. */
  async #median<Value>(count: number, call: () => Promise<Value>): Promise<{ readonly value: Value; readonly tookMs: number }> {
    let { value, tookMs } = await this.#timed(call);
    const times = [tookMs];
    while (times.length < count) {
      ({ value, tookMs } = await this.#timed(call));
      times.push(tookMs);
    }
    return { value, tookMs: times.sort((a, b) => a - b)[(count - 1) / 2] ?? tookMs };
  }

  #token(name: string): string {
    return this.#parts.dev.issuer.tokens.find((one) => one.name === name)?.token ?? '';
  }
}

function told(answer: Answer): string {
  if (!answer.active) return `inactive ${answer.reason}`;
  const whence = {
    memory: 'from memory',
    shared: 'from the shared tier',
    authority: 'from its authority',
    signature: 'by its signature',
    unknown: '',
  }[answer.provenance];
  return `active ${whence}${answer.degraded ? ', degraded' : ''}`;
}

function ms(tookMs: number): string {
  const digits = tookMs < 0.1 ? 4 : tookMs < 1 ? 2 : 1;
  return `${tookMs.toFixed(digits)} ms`;
}
