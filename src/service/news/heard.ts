// Whom the sources that announce have spoken of lately: what the poll tells is held against that.

import type { News } from '../../ports.ts';

interface Mention {
  readonly id: string;
  readonly atMs: number;
  /** Monotonic. */
  readonly heardMs: number;
}

/** How far two sources' times of one happening may be apart, in milliseconds: the bounds of S10. */
export const sameHappeningMs = 10_000;

/** Longer than anything is held against it. */
const rememberedMs = 120_000;
const mostMentions = 10_000;
/** Forgotten together. */
const batch = 1_000;
/** Mentions of one id that are closer than this are one: a robot that logs in does not push out the others. */
const sameMentionMs = 1_000;

/** Changes of groups and domains touch users whom their messages do not name. */
const touchesUnnamed = /^identity\.(?:group|domain)\./;
const anyUser = '';

/** Remembers mentions, by the source's time: at most 10,000, each for two minutes. */
export class Heard {
  readonly #byId = new Map<string, number[]>();
  readonly #mentions: Mention[] = [];
  /** Mentions from before then may be gone: another sidecar's poll may be read that late. */
  #completeFromMs = Number.NEGATIVE_INFINITY;

  add({ about, event, atMs }: News, nowMs: number): void {
    for (const id of touchesUnnamed.test(event) ? [...about, anyUser] : about) {
      const times = this.#byId.get(id) ?? [];
      if (times.some((timeMs) => Math.abs(timeMs - atMs) < sameMentionMs)) continue;
      this.#byId.set(id, [...times, atMs]);
      this.#mentions.push({ id, atMs, heardMs: nowMs });
    }
    this.#prune(nowMs);
  }

  /** Whether this id was spoken of within 10 s of then. */
  hasNamed(id: string, atMs: number): boolean {
    return (this.#byId.get(id) ?? []).some((timeMs) => Math.abs(timeMs - atMs) <= sameHappeningMs);
  }

  /** Whether something was, then, that touches users without naming them. */
  hasTouchedUsers(atMs: number): boolean {
    return this.hasNamed(anyUser, atMs);
  }

  /** Whether everything from then on is still remembered. */
  isComplete(fromMs: number): boolean {
    return fromMs > this.#completeFromMs;
  }

  #prune(nowMs: number): void {
    const { length } = this.#mentions;
    const young = this.#mentions.findIndex(({ heardMs }) => nowMs - heardMs <= rememberedMs);
    const old = young < 0 ? length : young;
    // Many in one go: what is cut off an array moves all that stays.
    if (old < batch && length <= mostMentions) return;
    for (const { id, atMs } of this.#mentions.splice(0, Math.max(old, batch))) {
      this.#completeFromMs = Math.max(this.#completeFromMs, atMs);
      const left = (this.#byId.get(id) ?? []).filter((timeMs) => timeMs !== atMs);
      if (left.length === 0) this.#byId.delete(id);
      else this.#byId.set(id, left);
    }
  }
}
