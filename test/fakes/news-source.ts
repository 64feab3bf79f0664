// A source of news in a test's hands.

import type { DependencyHealth, News, NewsInvalidation, NewsSink, NewsSource } from '../../src/ports.ts';

/** What a test does with it. */
export interface FakeNewsSource {
  readonly source: NewsSource;
  /** Where it tells; throws before it runs. */
  readonly sink: NewsSink;
  readonly isRunning: boolean;
  /** Monotonic moments at which it was looked at. */
  readonly looks: readonly number[];
  /** What a look does, from now on. */
  onLook(act: (signal: AbortSignal) => Promise<void>): void;
  setHealth(health: DependencyHealth): void;
}

/** `looks`: it can be asked. */
export function createFakeNewsSource(name: string, { looks = false, monotonicMs = (): number => 0 } = {}): FakeNewsSource {
  let sink: NewsSink | undefined;
  let isRunning = false;
  let health: DependencyHealth = { reachable: true };
  let act: (signal: AbortSignal) => Promise<void> = async () => undefined;
  const looked: number[] = [];
  const source: NewsSource = {
    name,
    async run(given, signal) {
      sink = given;
      isRunning = true;
      if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
      isRunning = false;
    },
    health: () => health,
    ...(looks && {
      async look(signal: AbortSignal) {
        looked.push(monotonicMs());
        await act(signal);
      },
    }),
  };
  return {
    source,
    get sink() {
      if (sink === undefined) throw new Error(`the source ${name} does not run`);
      return sink;
    },
    get isRunning() {
      return isRunning;
    },
    looks: looked,
    onLook(next) {
      act = next;
    },
    setHealth(next) {
      health = next;
    },
  };
}

let count = 0;

/** News of whatever `part` says; an id of its own, and nothing that it means, unless it says so. */
export function newsOf(part: Partial<News> & Pick<News, 'atMs'>): News {
  count += 1;
  return { id: `news-${count}`, event: 'identity.user.updated', about: [], invalidations: [], ...part };
}

/** A REFRESH of what fits. */
export const refreshing = (
  ...conditions: readonly (readonly [NewsInvalidation['conditions'][number]['dimension'], string])[]
): NewsInvalidation => ({
  effect: 'REFRESH',
  conditions: conditions.map(([dimension, value]) => ({ dimension, value })),
});

/** A REVOKE of what fits, cut off in the second of its news unless it says otherwise. */
export const revoking = (
  conditions: readonly (readonly [NewsInvalidation['conditions'][number]['dimension'], string])[],
  issuedBeforeMs?: number,
): NewsInvalidation => ({
  effect: 'REVOKE',
  conditions: conditions.map(([dimension, value]) => ({ dimension, value })),
  ...(issuedBeforeMs === undefined ? {} : { issuedBeforeMs }),
});
