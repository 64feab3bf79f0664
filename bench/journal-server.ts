// A whole sidecar with its journal on disk under measurement; whoever opens its socket may revoke. argv: the directory.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { secretFile } from '../src/config/secrets.js';
import { createSidecar } from '../src/sidecar.js';
import { benchConfig, closed } from './bench-config.js';
import { serve } from './children.js';

const dir = process.argv[2] ?? '.';
const keys = join(dir, 'keys.json');
writeFileSync(keys, JSON.stringify({ keys: [] }));
const config = {
  ...benchConfig(secretFile(keys)),
  listen: { ...closed, socket: { path: join(dir, 's.sock'), mode: 0o600, group: undefined } },
  journal: { dir: join(dir, 'journal') },
};
const running = await createSidecar({ config, destination: { write: () => undefined } }).start(new AbortController().signal);
serve({ socket: running.socket });
