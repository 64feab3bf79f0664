// The log of a real sidecar, followed over mutual TLS, held to the contract of every engine.

import { createFollow } from '../../src/fleet/follow.ts';
import type { Engine, LogRecord } from '../../src/ports.ts';
import { systemClock } from '../../src/sidecar.ts';
import { engineConformance } from '../conformance/engine.ts';
import { startRelay } from '../fakes/relay.ts';
import { startUpstream } from './follow-stage.ts';

engineConformance('A followed sidecar', async () => {
  const upstream = await startUpstream();
  const relay = await startRelay(upstream.port);
  return {
    engine: () => withoutSignsOfLife(createFollow(upstream.options(relay.port), { clock: systemClock })),
    async remove() {
      await upstream.kill();
      upstream.removeLog();
      await upstream.start();
    },
    stop: upstream.kill,
    start: upstream.start,
    freeze: async () => upstream.freeze(),
    thaw: upstream.thaw,
    cut: async () => relay.cut(),
    async close() {
      await upstream.close();
      await relay.close();
    },
  };
});

/** The upstream is a member of its log too, and beats there: the suite reads what its own members have appended. */
function withoutSignsOfLife(engine: Engine): Engine {
  const isOfSuite = ({ bytes }: LogRecord): boolean => Buffer.from(bytes.subarray(0, 4)).toString('latin1') !== 'SGF1';
  return {
    ...engine,
    run: (session, signal) =>
      engine.run(
        (link) =>
          session({
            ...link,
            read: (from, take, stop) =>
              link.read(
                from,
                async (batch) => {
                  const left = batch.filter(isOfSuite);
                  if (left.length > 0 || batch.length === 0) await take(left);
                },
                stop,
              ),
          }),
        signal,
      ),
  };
}
