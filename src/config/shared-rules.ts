// The rules about the tier that sidecars share: what it needs, and what is probably not meant.

import type { Finding, Parts } from './rules.ts';
import type { SharedConfig } from './types.ts';
import { isLoopback } from './units.ts';

const at = ['caching', 'shared'] as const;

/** What must not be. */
export function sharedRules({ caching, deploymentKeys, issuers }: Parts): readonly Finding[] {
  if (!caching) return [];
  const { shared, handles } = caching;
  const isThere = shared.servers.length > 0;
  const found: Finding[] = [...serverRules(shared)];
  if (isThere && deploymentKeys && deploymentKeys.dir === undefined) {
    const message = 'is needed by caching.shared: only sidecars with the same key can read what another one has stored';
    found.push({ path: ['deployment_key_dir'], message });
  }
  if (handles.enabled && !(isThere && caching.enabled && caching.token.enabled)) {
    const message = 'needs caching.shared.servers, caching.enabled and caching.token.enabled: what a handle stands for is kept there';
    found.push({ path: ['caching', 'handles', 'enabled'], message });
  }
  for (const [index, issuer] of issuers.entries()) {
    // Keys are fetched on a schedule of their own; nobody waits for them after having waited for the tier.
    if (!isThere || !issuer || issuer.kind === 'jwt' || shared.deadlineMs < issuer.calls.deadlineMs) continue;
    const message = `must be less than issuers[${index}].calls.deadline: to ask the authority would be quicker`;
    found.push({ path: [...at, 'deadline'], message });
  }
  return found;
}

function serverRules({ servers, tls }: SharedConfig): readonly Finding[] {
  const found: Finding[] = [];
  const names = servers.map(({ host, port }) => `${host.toLowerCase()} ${port}`);
  for (const [index, name] of names.entries()) {
    const earlier = names.indexOf(name);
    if (earlier < index) found.push({ path: [...at, 'servers', index], message: `must not be that of servers[${earlier}]` });
  }
  if (tls && (tls.certFile === undefined) !== (tls.keyFile === undefined)) {
    const missing = tls.certFile === undefined ? 'cert_file' : 'key_file';
    found.push({ path: [...at, 'tls', missing], message: 'must be there: cert_file and key_file belong together' });
  }
  return found;
}

/** What may be, but is probably not meant. */
export function sharedDoubts({ caching }: Parts): readonly Finding[] {
  if (!caching || caching.shared.servers.length === 0) return [];
  const { servers, tls } = caching.shared;
  const found: Finding[] = [];
  if (!caching.enabled) found.push({ path: [...at, 'servers'], message: 'are not used: caching.enabled is false' });
  if (!tls && servers.some(({ host }) => !isLoopback(host))) {
    const message =
      'are other hosts, without tls: what is stored is sealed, but whoever is between can drop it, or bring it back while it lives';
    found.push({ path: [...at, 'servers'], message });
  }
  return found;
}
