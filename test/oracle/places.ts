// Where a token can be known: places that answer, and what each of them has answered about each token, in time.

import { setTimeout as sleep } from 'node:timers/promises';
import { type Answer, type Client, type NearCache, NoAnswerError, type ValidateOptions } from '../../src/client/index.ts';
import { type Said, type Span, sameSaid } from './judge.ts';
import { saidBy } from './truth.ts';

/** A sidecar's memory, the shared tier as another sidecar finds it, a near cache. */
export type PlaceName = 'memory' | 'shared' | 'near';

/** One of them. */
export interface Place {
  readonly name: PlaceName;
  ask(token: string): Promise<Answer>;
  /** Asks; whether the token is known here for at least `forMs`, so that nobody has to be asked when it is asked about again. */
  holds(token: string, forMs: number): Promise<boolean>;
}

/** Everything that a token says is compared. */
const question: ValidateOptions = { include: { claims: true, tags: true } };

/** What a sidecar has in its memory. */
export function memoryOf(client: Client): Place {
  const ask = (token: string): Promise<Answer> => client.validate(token, question);
  return {
    name: 'memory',
    ask,
    async holds(token, forMs) {
      const answer = await ask(token);
      return answer.active && answer.provenance === 'memory' && answer.maxAgeMs >= forMs;
    },
  };
}

/** What a sidecar finds in the shared tier: nobody asks it about a token before that is looked at, so it holds none. */
export function sharedOf(client: Client): Place {
  return { name: 'shared', ask: (token) => client.validate(token, question), holds: async () => true };
}

/** What a near cache holds. */
export function nearOf(near: NearCache): Place {
  return {
    name: 'near',
    ask: (token) => near.validate(token, question),
    async holds(token, forMs) {
      const before = near.stats().hits;
      const answer = await near.validate(token, question);
      // Others may have hit it meanwhile: then it is asked once more than it had to be.
      return answer.active && answer.maxAgeMs >= forMs && near.stats().hits === before + 1;
    },
  };
}

/** One answer as the judge sees it; what was no answer too. */
export async function saidAt(place: Pick<Place, 'ask'>, token: string): Promise<{ readonly said: Said; readonly answer?: Answer }> {
  try {
    const answer = await place.ask(token);
    const says = saidBy(answer);
    if (says === undefined) return { said: { kind: 'none', why: 'an active answer without claims' }, answer };
    return { said: answer.active ? { kind: 'active', says } : { kind: 'inactive', reason: answer.reason }, answer };
  } catch (error) {
    if (!(error instanceof NoAnswerError)) throw error;
    return { said: { kind: 'none', why: `${error.code} ${error.reason ?? ''} ${error.message}` } };
  }
}

/** What one place has answered about one token since it is watched. */
export interface Watched {
  readonly spans: readonly Span[];
  /** Where the first answer came from. */
  readonly firstFrom: string | undefined;
  /** Resolves when it is over, with one last answer. */
  end(): Promise<void>;
}

/** Asks again and again: after `intervalMs()`, from the last answer on. */
export function watchAt(place: Place, token: string, intervalMs: () => number): Watched {
  const spans: Span[] = [];
  const ending = new AbortController();
  let firstFrom: string | undefined;
  const look = async (): Promise<void> => {
    const askedMs = performance.now();
    const { said, answer } = await saidAt(place, token);
    const answeredMs = performance.now();
    firstFrom ??= answer?.provenance;
    const last = spans.at(-1);
    if (last && sameSaid(last.said, said)) {
      last.lastAnsweredMs = answeredMs;
      last.count += 1;
    } else spans.push({ said, firstAskedMs: askedMs, firstAnsweredMs: answeredMs, lastAnsweredMs: answeredMs, count: 1 });
  };
  const watching = (async () => {
    while (!ending.signal.aborted) {
      await look();
      // Only the end breaks it off.
      await sleep(intervalMs(), undefined, { signal: ending.signal }).catch(() => undefined);
    }
    await look();
  })();
  // Whoever ends it is told.
  watching.catch(() => undefined);
  return {
    spans,
    get firstFrom() {
      return firstFrom;
    },
    async end() {
      ending.abort();
      await watching;
    },
  };
}
