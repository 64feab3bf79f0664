// The test projects: `core` needs nothing; `unit` needs node; `foreign` needs Debian's Python packages; `e2e` a real Keystone.
import { defineConfig } from 'vitest/config';

interface Project {
  readonly name: string;
  readonly include: string[];
  /** Milliseconds, for a test and for a hook. */
  readonly timeout: number;
  /** Groups run one after the other. In all but the first so do the files: each has servers of its own that want the machine. */
  readonly group: number;
}

const project = ({ name, include, timeout, group }: Project) => ({
  test: {
    name,
    include,
    testTimeout: timeout,
    hookTimeout: timeout,
    environment: 'node' as const,
    fileParallelism: group === 0,
    sequence: { groupOrder: group },
  },
});

const rooms = 'service,formats,news,amqp,fleet,upstreams,keystone,shared-cache,journal,rpc,wire,client,dev,config,cli,deploy,oracle';

export default defineConfig({
  test: {
    projects: [
      project({ name: 'core', include: ['test/core/**/*.test.ts', 'test/architecture.test.ts'], timeout: 20_000, group: 0 }),
      project({
        name: 'unit',
        include: [`test/{${rooms}}/**/*.test.ts`, 'test/*.test.ts', '!test/architecture.test.ts'],
        timeout: 90_000,
        group: 0,
      }),
      project({ name: 'foreign', include: ['test/foreign/**/*.test.ts'], timeout: 180_000, group: 1 }),
      project({ name: 'e2e', include: ['test/e2e/**/*.test.ts'], timeout: 300_000, group: 2 }),
    ],
  },
});
