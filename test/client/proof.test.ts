// W8 on its own, in minutes of invented time: whatever the pauses and the clocks, an old checkpoint never proves.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Proof } from '../../src/client/proof.ts';

const intervalMs = 1000;
const granted = { checkpointIntervalMs: intervalMs, proofLifetimeMs: 10_000, latestRevision: 0 };
const written = (serverTimeMs: number) => ({
  revision: 1,
  serverTimeMs,
  provenThroughMs: serverTimeMs,
  degraded: false,
  degradedIssuers: [],
});
/** The sidecar's clock minus ours. */
const apartMs = 1_900_000_000_000;

/** A stream that has run well for so many checkpoints; the last was read at the answered time. */
function running(proof: Proof, checkpoints: number): number {
  proof.subscribing(0);
  proof.opened(granted);
  for (let n = 0; n < checkpoints; n += 1) proof.checkpoint(written(apartMs + n * intervalMs), n * intervalMs + 5);
  return (checkpoints - 1) * intervalMs + 5;
}

describe('W8: the proof of a stream', () => {
  it('holds for three intervals after a checkpoint and no longer', () => {
    const proof = new Proof();
    const readMs = running(proof, 20);
    expect(proof.holds(readMs + 3 * intervalMs)).toBe(true);
    expect(proof.holds(readMs + 3 * intervalMs + 1)).toBe(false);
  });

  it('ends with the life of what is known complete, however fresh the checkpoint', () => {
    const proof = new Proof();
    const readMs = running(proof, 20);
    proof.checkpoint({ ...written(apartMs + 20_000), provenThroughMs: apartMs + 10_000 }, readMs + intervalMs);
    expect(proof.holds(readMs + intervalMs)).toBe(true);
    expect(proof.holds(readMs + intervalMs + 1)).toBe(false);
  });

  it('is not had from old checkpoints after a stop, even one of longer than five minutes', () => {
    const proof = new Proof();
    const stoppedMs = running(proof, 20);
    const awakeMs = stoppedMs + 900_000;
    const proven: boolean[] = [];
    for (let n = 20; n < 20 + 900; n += 1) {
      proof.checkpoint(written(apartMs + n * intervalMs), awakeMs);
      proven.push(proof.holds(awakeMs));
    }
    // Only those of the last three intervals are young enough, now that they are read.
    expect(proven.indexOf(true)).toBeGreaterThanOrEqual(900 - 4);
    expect(proven.at(-1)).toBe(true);
  });

  it('is not had from a first checkpoint that was read late', () => {
    const proof = new Proof();
    proof.subscribing(0);
    proof.opened(granted);
    proof.checkpoint(written(apartMs + 10), 60_000);
    expect(proof.holds(60_000)).toBe(false);
    proof.checkpoint(written(apartMs + 60_000), 60_005);
    expect(proof.holds(60_005)).toBe(true);
  });

  it('is not had by a process that is stopped again and again while it reads old checkpoints', () => {
    const proof = new Proof();
    proof.subscribing(0);
    proof.opened(granted);
    for (const [n, readMs] of [60_000, 120_000, 180_000].entries()) proof.checkpoint(written(apartMs + n * intervalMs), readMs);
    for (let n = 3; n < 176; n += 1) {
      proof.checkpoint(written(apartMs + n * intervalMs), 180_000);
      expect(proof.holds(180_000), `checkpoint ${n}`).toBe(false);
    }
  });

  it('comes back when the sidecar’s clock was set back, after the window', () => {
    const proof = new Proof();
    const readMs = running(proof, 20);
    const setBackMs = 30_000;
    let regainedAfter = 0;
    for (let n = 1; n <= 700 && regainedAfter === 0; n += 1) {
      const nowMs = readMs + n * intervalMs;
      proof.checkpoint(written(apartMs + nowMs - 5 - setBackMs), nowMs);
      if (proof.holds(nowMs)) regainedAfter = n;
    }
    expect(regainedAfter).toBeGreaterThanOrEqual(300);
    expect(regainedAfter).toBeLessThanOrEqual(601);
  });

  it('survives the sidecar’s clock being set forward', () => {
    const proof = new Proof();
    const readMs = running(proof, 20);
    proof.checkpoint(written(apartMs + readMs - 5 + intervalMs + 3_600_000), readMs + intervalMs);
    expect(proof.holds(readMs + intervalMs)).toBe(true);
  });

  it('is of its own stream only', () => {
    const proof = new Proof();
    const readMs = running(proof, 20);
    proof.subscribing(readMs);
    expect(proof.holds(readMs)).toBe(false);
    proof.opened(granted);
    expect(proof.holds(readMs)).toBe(false);
  });

  it('never holds on a checkpoint older than three intervals and the latency, whatever stops the process', () => {
    const latencyMs = 50;
    const stops = fc.array(fc.record({ atMs: fc.nat(1_200_000), forMs: fc.integer({ min: 1, max: 900_000 }) }), { maxLength: 4 });
    const latencies = fc.array(fc.nat(latencyMs), { minLength: 7, maxLength: 7 });
    fc.assert(
      fc.property(stops, latencies, (stopped, latency) => {
        const awakeAt = (ms: number): number =>
          stopped
            .toSorted((a, b) => a.atMs - b.atMs)
            .reduce((at, { atMs, forMs }) => (at >= atMs && at < atMs + forMs ? atMs + forMs : at), ms);
        const proof = new Proof();
        proof.subscribing(0);
        proof.opened(granted);
        let readMs = 0;
        let provenAtEnd = false;
        for (let n = 0; n < 2_400; n += 1) {
          const writtenMs = n * intervalMs;
          readMs = Math.max(readMs, awakeAt(writtenMs + (latency[n % latency.length] ?? 0)));
          proof.checkpoint(written(apartMs + writtenMs), readMs);
          // At once, and just before the next one could be read.
          for (const atMs of [readMs, readMs + intervalMs - 1]) {
            if (proof.holds(atMs) && atMs - writtenMs > 3 * intervalMs + latencyMs) return false;
          }
          provenAtEnd = proof.holds(readMs);
        }
        return provenAtEnd;
      }),
      { numRuns: 60 },
    );
  });
});
