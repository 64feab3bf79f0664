// What the package carries beside its code: its version and the .proto.

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The package's directory: the nearest one above this file that holds the .proto, wherever the build has put the code. */
function packageRoot(): string {
  let at = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(at, protoPath)) && dirname(at) !== at) at = dirname(at);
  return at;
}

const protoPath = join('proto', 'sidegate', 'v1', 'token_service.proto');

/** The API's .proto, for reflection. */
export function protoFile(): string {
  return join(packageRoot(), protoPath);
}

/** The version in package.json. */
export function readVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8'));
  const found = typeof manifest === 'object' && manifest !== null && 'version' in manifest ? manifest.version : undefined;
  return typeof found === 'string' ? found : 'unknown';
}
