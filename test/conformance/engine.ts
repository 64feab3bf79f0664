// What every Engine must do, whatever carries its log.

import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Engine, LogLink, LogRecord } from '../../src/ports.ts';

/** A log that is up and empty, in the hands of the suite. Each test gets one of its own. */
export interface EngineHarness {
  /** As one more sidecar of the fleet sees it. */
  engine(): Engine;
  /** Deletes the log; whoever has a connection, or makes one, may make it again. */
  remove(): Promise<void>;
  /** As its server, killed: nobody can connect until `start`, and what was confirmed is there then. */
  stop(): Promise<void>;
  start(): Promise<void>;
  /** Connections stay, nothing is answered, until `thaw`. */
  freeze(): Promise<void>;
  thaw(): void;
  /** Connections of all sidecars are cut; they may come back. */
  cut(): Promise<void>;
  close(): Promise<void>;
}

const patience = { timeout: 60_000, interval: 20 };

/** A sidecar's side: what it reads, and the link that it has now. */
interface Member {
  readonly engine: Engine;
  readonly read: LogRecord[];
  readonly links: LogLink[];
  /** How its readings have ended. */
  readonly ends: unknown[];
  /** Appends over the link that stands, or the next one. */
  append(text: string): Promise<void>;
  texts(): readonly string[];
  end(): Promise<void>;
}

/** Runs the suite `name`. `makeHarness` starts a log. */
export function engineConformance(name: string, makeHarness: () => Promise<EngineHarness>): void {
  describe(`${name} as an Engine`, () => {
    let harness: EngineHarness;
    let members: Member[] = [];
    beforeEach(async () => {
      harness = await makeHarness();
    }, 240_000);
    afterEach(async () => {
      await Promise.all(members.map((member) => member.end()));
      members = [];
      await harness.close();
    }, 60_000);

    const join = (from: () => number | undefined = () => undefined, slowly: () => Promise<void> = async () => undefined): Member => {
      const stop = new AbortController();
      const read: LogRecord[] = [];
      const links: LogLink[] = [];
      const ends: unknown[] = [];
      const engine = harness.engine();
      const running = engine.run(async (link) => {
        links.push(link);
        const take = async (batch: readonly LogRecord[]): Promise<void> => {
          read.push(...batch.map(({ position, bytes }) => ({ position, bytes: Buffer.from(bytes) })));
          if (batch.length > 0) await slowly();
        };
        const position = links.length === 1 ? from() : read.at(-1)?.position;
        await link.read(position, take, stop.signal).then(
          () => ends.push('stopped'),
          (error: unknown) => {
            ends.push(error);
            throw error;
          },
        );
      }, stop.signal);
      const member: Member = {
        engine,
        read,
        links,
        ends,
        async append(text) {
          await vi.waitFor(async () => {
            const link = links.at(-1);
            if (!link || link.signal.aborted) throw new Error('no link');
            await link.append(Buffer.from(text));
          }, patience);
        },
        texts: () => read.map(({ bytes }) => Buffer.from(bytes).toString()),
        async end() {
          stop.abort();
          await running;
        },
      };
      members.push(member);
      return member;
    };
    const reads = (member: Member, ...texts: readonly string[]): Promise<void> =>
      expect.poll(() => member.texts(), patience).toEqual(expect.arrayContaining([...texts]));

    it('what one appends everybody reads, in one order, under the same positions, byte for byte', async () => {
      const [one, other] = [join(), join()];
      const all = Array.from({ length: 40 }, (_, n) => `record ${n}`);
      for (const [n, text] of all.entries()) await (n % 2 === 0 ? one : other).append(text);
      const bytes = randomBytes(200_000);
      await one.links.at(-1)?.append(bytes);

      for (const member of [one, other]) {
        await expect.poll(() => member.read.length, patience).toBe(41);
        expect(member.texts().slice(0, 40)).toEqual(all);
        expect(Buffer.from(member.read[40]?.bytes ?? []).equals(bytes)).toBe(true);
        const positions = member.read.map(({ position }) => position);
        expect(positions).toEqual(positions.toSorted((a, b) => a - b));
        expect(new Set(positions).size).toBe(41);
        expect(positions.every((position) => Number.isSafeInteger(position) && position >= 0)).toBe(true);
      }
      expect(one.read.map(({ position }) => position)).toEqual(other.read.map(({ position }) => position));
      expect(one.engine.health().reachable).toBe(true);
    });

    it('what is appended at once comes in the order of the calls', async () => {
      const one = join();
      await one.append('first');
      const link = one.links.at(-1);
      const all = Array.from({ length: 2_000 }, (_, n) => `record ${n}`);
      await Promise.all(all.map((text) => link?.append(Buffer.from(text))));
      await expect.poll(() => one.read.length, patience).toBe(2_001);
      expect(one.texts()).toEqual(['first', ...all]);
    });

    it('a reading says first that it stands, by an empty batch, also where there is nothing', async () => {
      const stop = new AbortController();
      const sizes: number[] = [];
      const running = harness.engine().run(async (link) => {
        await link.read(undefined, async ({ length }) => void sizes.push(length), stop.signal);
      }, stop.signal);
      await expect.poll(() => sizes[0], patience).toBe(0);
      stop.abort();
      await running;
    });

    it('a reading begins with the record at its position, and with the oldest without one', async () => {
      const one = join();
      for (const text of ['a', 'b', 'c', 'd']) await one.append(text);
      await expect.poll(() => one.read.length, patience).toBe(4);
      const third = one.read[2]?.position;

      const [later, whole] = [join(() => third), join()];
      await expect.poll(() => later.texts(), patience).toEqual(['c', 'd']);
      await expect.poll(() => whole.texts(), patience).toEqual(['a', 'b', 'c', 'd']);
      await one.append('e');
      await expect.poll(() => later.texts(), patience).toEqual(['c', 'd', 'e']);
    });

    it('a position beyond the newest brings nothing older, and breaks nothing: the same link can read from the oldest', async () => {
      const one = join();
      await one.append('a');
      await expect.poll(() => one.read.length, patience).toBe(1);
      const beyond = (one.read[0]?.position ?? 0) + 1_000;
      const seen: string[] = [];
      const early: string[] = [];
      const stop = new AbortController();
      const engine = harness.engine();
      const running = engine.run(async (link) => {
        const tooFar = new AbortController();
        const take = async (batch: readonly LogRecord[]): Promise<void> => {
          seen.push(...batch.map(({ bytes }) => Buffer.from(bytes).toString()));
        };
        const first = link.read(beyond, take, tooFar.signal);
        await link.append(Buffer.from('b'));
        // Whoever reads from the oldest has it by then.
        await reads(one, 'b');
        early.push(...seen);
        tooFar.abort();
        await first;
        seen.length = 0;
        await link.read(undefined, take, stop.signal);
      }, stop.signal);
      await expect.poll(() => seen, patience).toEqual(['a', 'b']);
      expect(early).toEqual([]);
      stop.abort();
      await running;
    });

    it('the next batch comes when the last one is done with: a slow reader holds little, and misses nothing', async () => {
      const one = join();
      const all = Array.from({ length: 3_000 }, (_, n) => `record ${n}`);
      await one.append('first');
      const link = one.links.at(-1);
      await Promise.all(all.map((text) => link?.append(Buffer.from(text))));
      let under = 0;
      let most = 0;
      const slow = join(
        () => undefined,
        async () => {
          under += 1;
          most = Math.max(most, under);
          await new Promise((resolve) => setTimeout(resolve, 5));
          under -= 1;
        },
      );
      await expect.poll(() => slow.read.length, patience).toBe(3_001);
      expect(most).toBe(1);
      expect(slow.texts().at(-1)).toBe('record 2999');
    });

    it('a take that fails ends the reading with its reason, and the session begins again', async () => {
      const failure = new Error('the disk is full');
      let fails = true;
      const one = join(
        () => undefined,
        async () => {
          if (fails) throw failure;
        },
      );
      await one.append('a');
      await expect.poll(() => one.ends, patience).toContain(failure);
      fails = false;
      await expect.poll(() => one.links.length, patience).toBeGreaterThan(1);
      await one.append('b');
      await reads(one, 'a', 'b');
    });

    it('connections that are cut come back, and nothing that was confirmed is missing', async () => {
      const [one, other] = [join(), join()];
      await one.append('a');
      await reads(other, 'a');
      const link = one.links.at(-1);
      await harness.cut();
      await expect.poll(() => link?.signal.aborted, patience).toBe(true);
      await expect(link?.append(Buffer.from('over one that has ended'))).rejects.toMatchObject({ code: 'UNAVAILABLE' });
      await expect(link?.read(undefined, async () => undefined, new AbortController().signal)).rejects.toThrow();
      await one.append('b');
      await other.append('c');
      for (const member of [one, other]) await reads(member, 'a', 'b', 'c');
    });

    it('a server that is killed and started again has all that it has confirmed; meanwhile it is said that it is away', async () => {
      const [one, other] = [join(), join()];
      await one.append('a');
      await reads(other, 'a');
      await harness.stop();
      await expect.poll(() => one.engine.health(), patience).toMatchObject({ reachable: false, problem: expect.any(String) });
      await expect.poll(() => one.links.at(-1)?.signal.aborted, patience).toBe(true);
      await expect(one.links.at(-1)?.append(Buffer.from('lost'))).rejects.toThrow();
      await harness.start();
      await other.append('b');
      for (const member of [one, other]) await reads(member, 'a', 'b');
      expect(one.engine.health()).toMatchObject({ reachable: true });
    }, 240_000);

    it('a server that hangs is given up: what waits for it rejects, and the connection with it', async () => {
      const one = join();
      await one.append('a');
      await reads(one, 'a');
      const link = one.links.at(-1);
      await harness.freeze();
      const beganMs = performance.now();
      await expect(link?.append(Buffer.from('hanging'))).rejects.toThrow();
      expect(performance.now() - beganMs).toBeLessThan(15_000);
      await expect.poll(() => link?.signal.aborted, patience).toBe(true);
      harness.thaw();
      await one.append('b');
      await reads(one, 'a', 'b');
    }, 240_000);

    it('a log that is deleted is made again, empty, and goes on', async () => {
      const [one, other] = [join(), join()];
      for (const text of ['a', 'b', 'c']) await one.append(text);
      await reads(other, 'c');
      await harness.remove();
      await expect.poll(() => one.links.length, patience).toBeGreaterThan(1);
      const fresh = join();
      await fresh.append('anew');
      await reads(fresh, 'anew');
      expect(fresh.texts()).not.toContain('a');
    }, 240_000);

    it('two who find no log make one', async () => {
      const [one, other] = [join(), join()];
      await Promise.all([one.append('a'), other.append('b')]);
      for (const member of [one, other]) await reads(member, 'a', 'b');
      const orders = [one, other].map((member) => member.texts().join());
      expect(orders[0]).toBe(orders[1]);
    });

    it('ends at once when it is not wanted any more, also while nobody answers', async () => {
      const one = join();
      await one.append('a');
      await harness.freeze();
      const beganMs = performance.now();
      await one.end();
      expect(performance.now() - beganMs).toBeLessThan(10_000);
      harness.thaw();
    }, 240_000);
  });
}
