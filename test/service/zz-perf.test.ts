import { mkdtempSync } from 'node:fs';
import { test } from 'vitest';
import { openLevelJournal } from '/work/main/src/journal/leveldb.ts';
import { createTagger } from '/work/main/src/core/tag.ts';
import { Invalidations } from '/work/main/src/service/invalidations.ts';
import { Invalidations as Handed } from '/work/main/test/service/zz-handed.ts';
import { createFakeTelemetry } from '/work/main/test/fakes/telemetry.ts';
import { revokeOf, user } from '/work/main/test/service/road.ts';
import { systemClock as clock } from '/work/main/src/sidecar.ts';
test('perf', { timeout: 120000 }, async () => {
  const journal = await openLevelJournal({ dir: mkdtempSync('/tmp/perf-'), clock });
  const inv = new Invalidations({ journal, tagger: createTagger([{ id: 'k', secret: Buffer.alloc(32, 1) }]), clock, telemetry: createFakeTelemetry(), settleMs: 0, factsLifeMs: 3e5, ring: 65536 });
  const journal2 = await openLevelJournal({ dir: mkdtempSync('/tmp/perf-'), clock });
  const inv2 = new Handed({ journal: journal2, tagger: createTagger([{ id: 'k', secret: Buffer.alloc(32, 1) }]), clock, telemetry: createFakeTelemetry(), settleMs: 0, factsLifeMs: 3e5, ring: 65536 });
  const end = new AbortController();
  await inv2.load(); const run2 = inv2.run(end.signal);
  await inv.load(); const run = inv.run(end.signal);
  let n = 0;
  const entry = () => ({ id: `e${n++}`, effect: 'REVOKE' as const, selector: user(`u${n}`), alsoRefreshes: false, learnedAtMs: clock.nowMs(), forgetAtMs: clock.nowMs() + 3.6e6, keyId: 'k', origin: { source: 'rpc' } });
  const measure = async (name: string, conc: number, total: number, one: () => Promise<unknown>) => {
    const t: number[] = []; const s = performance.now(); let left = total;
    await Promise.all(Array.from({ length: conc }, async () => { while (left-- > 0) { const a = performance.now(); await one(); t.push(performance.now() - a); } }));
    const ms = performance.now() - s; t.sort((a, b) => a - b);
    console.log(name, conc, Math.round(total / ms * 1000), 'ops/s p50', t[t.length >> 1].toFixed(2), 'p99', t[Math.floor(t.length * .99)].toFixed(2));
  };
  for (let r = 0; r < 3; r++) for (const conc of [1, 16, 128]) {
    const total = conc === 1 ? 600 : 6000;
    await measure('journal', conc, total, () => journal.append(entry()));
    await measure('handed ', conc, total, () => inv2.append(revokeOf(user(`u${n++}`))));
    await measure('road   ', conc, total, () => inv.append(revokeOf(user(`u${n++}`))));
  }
  end.abort(); await run; await journal.close();
});
