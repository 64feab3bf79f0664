// The log in a stream of a real nats-server, held to the contract of every engine.

import { createJetstream } from '../../src/fleet/jetstream.ts';
import { systemClock } from '../../src/sidecar.ts';
import { engineConformance } from '../conformance/engine.ts';
import { describeWithNats, startNats } from '../fakes/nats.ts';
import { startRelay } from '../fakes/relay.ts';

describeWithNats('JetStream', () => {
  engineConformance('JetStream', async () => {
    const nats = await startNats();
    const relay = await startRelay(nats.port);
    return {
      engine: () =>
        createJetstream(
          {
            servers: [`nats://127.0.0.1:${relay.port}`],
            stream: 'sidegate',
            retentionMs: 3_600_000,
            replicas: 1,
            credentials: undefined,
            tls: undefined,
            connectionName: 'a sidecar',
          },
          { clock: systemClock },
        ),
      remove: async () => void (await nats.operate((manager) => manager.streams.delete('sidegate'))),
      stop: nats.kill,
      start: nats.start,
      freeze: nats.freeze,
      thaw: nats.thaw,
      cut: async () => relay.cut(),
      async close() {
        await nats.close();
        await relay.close();
      },
    };
  });
});
