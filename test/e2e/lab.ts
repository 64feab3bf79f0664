// A real Keystone for one vitest suite (lab/keystone.ts), and suites that say so where there is none.
import { existsSync } from 'node:fs';
import { describe } from 'vitest';

export { type Lab, startKeystone, type TokenKind } from './lab/keystone.ts';

/** Why the suites over a real Keystone cannot run here, or undefined. `npm test` sets SIDEGATE_SKIP_E2E or installs what is missing. */
export const whyNoKeystone: string | undefined =
  process.env['SIDEGATE_SKIP_E2E'] ??
  ['/usr/bin/keystone-manage', '/usr/bin/uwsgi-core', '/usr/bin/python3']
    .filter((path) => !existsSync(path))
    .map((path) => `${path} is missing`)[0];

/** `describe`, or where there is no Keystone a suite skipped aloud: the reason stands in its title. */
export const describeWithKeystone = (title: string, suite: () => void): void => {
  if (whyNoKeystone === undefined) describe(title, suite);
  else describe.skip(`${title} (skipped: ${whyNoKeystone})`, suite);
};
