// The test projects: `core` needs nothing; `unit` needs node; `foreign` needs Debian's Python packages; `e2e` a real Keystone.
import { defineConfig } from 'vitest/config';

const project = (name: string, include: string[], testTimeout: number) => ({
  test: { name, include, testTimeout, hookTimeout: testTimeout, environment: 'node' as const },
});

export default defineConfig({
  test: {
    projects: [
      project('core', ['test/core/**/*.test.ts', 'test/architecture.test.ts'], 20_000),
      project(
        'unit',
        [
          'test/{service,formats,upstreams,journal,rpc,wire,client,dev,config,cli,deploy}/**/*.test.ts',
          'test/*.test.ts',
          '!test/architecture.test.ts',
        ],
        60_000,
      ),
      project('foreign', ['test/foreign/**/*.test.ts'], 180_000),
      project('e2e', ['test/e2e/**/*.test.ts'], 300_000),
    ],
  },
});
