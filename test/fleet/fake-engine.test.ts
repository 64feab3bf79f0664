// The log in memory that what is done with one is tested on: held to the contract of the real ones.

import { systemClock } from '../../src/sidecar.ts';
import { engineConformance } from '../conformance/engine.ts';
import { createFakeLog } from '../fakes/engine.ts';

engineConformance('a log in memory', async () => {
  const log = createFakeLog(systemClock);
  return {
    engine: log.engine,
    remove: async () => log.recreate(),
    stop: async () => log.stop(),
    start: async () => log.start(),
    freeze: async () => log.hang(),
    thaw: () => log.start(),
    cut: async () => log.cut(),
    close: async () => log.stop(),
  };
});
