// `fleet`: the log through which sidecars exchange what was invalidated; how it is written, and what that means.

import type * as z from 'zod';
import { choice, count, type Files, list, logName, mapping, path, type Section, section, server } from './leaves.ts';
import type { Finding, Parts } from './rules.ts';
import { mutualTls, serverTls, serverTlsOf } from './server-tls.ts';
import type { FleetConfig } from './types.ts';
import { parseServer } from './units.ts';

const fleet = mapping({
  engine: choice(['none', 'rabbitmq', 'jetstream', 'local', 'follow']).default('none'),
  rabbitmq: mapping({ transport_url_file: path(), stream: logName().default('sidegate'), tls: serverTls().prefault({}) })
    .nullable()
    .default(null),
  jetstream: mapping({
    servers: list(server(), { min: 1, max: 64 }),
    stream: logName().default('SIDEGATE'),
    credentials_file: path().nullable().default(null),
    replicas: count(1, 5).default(1),
    tls: serverTls().nullable().default(null),
  })
    .nullable()
    .default(null),
  follow: mapping({ address: server(), tls: mutualTls() }).nullable().default(null),
}).prefault({});

/** `fleet`. */
export const fleetSection: Section<FleetConfig> = section(fleet, read);

function read({ engine, rabbitmq, jetstream, follow }: z.output<typeof fleet>, files: Files): FleetConfig {
  if (engine === 'rabbitmq' && rabbitmq !== null) {
    const transportUrl = files.secret(rabbitmq.transport_url_file);
    return { kind: 'rabbitmq', transportUrl, stream: rabbitmq.stream, tls: serverTlsOf(rabbitmq.tls, files) };
  }
  if (engine === 'jetstream' && jetstream !== null) {
    const { servers, stream, replicas, credentials_file: credentials, tls } = jetstream;
    return {
      kind: 'jetstream',
      servers: servers.flatMap((it) => parseServer(it) ?? []),
      stream,
      replicas,
      credentials: credentials === null ? undefined : files.secret(credentials),
      tls: tls === null ? undefined : serverTlsOf(tls, files),
    };
  }
  const address = follow === null ? undefined : parseServer(follow.address);
  if (engine === 'follow' && follow !== null && address) return { kind: 'follow', address, tls: serverTlsOf(follow.tls, files) };
  return engine === 'none' || engine === 'local' ? { kind: engine } : { kind: 'missing', engine };
}

/** What who follows sends in a call, and room. */
const smallestRequestBytes = 1_048_576;

/** What must not be. */
export function fleetRules({ fleet: it, deploymentKeys, journal, callers, limits }: Parts): readonly Finding[] {
  if (!it || it.kind === 'none') return [];
  const found: Finding[] = [];
  if (it.kind === 'missing') found.push({ path: ['fleet', it.engine], message: `is missing: fleet.engine is ${it.engine}` });
  if (it.kind === 'local' && journal && journal.dir === undefined) {
    found.push({ path: ['journal', 'dir'], message: 'is needed by fleet.engine local: its log is kept there' });
  }
  if (callers.some((line) => line?.may.includes('fleet')) && limits && limits.requestSizeBytes < smallestRequestBytes) {
    const message = 'must be at least 1 MiB where a line of callers holds fleet: who follows sends many records at once';
    found.push({ path: ['limits', 'request_size'], message });
  }
  if (deploymentKeys && deploymentKeys.dir === undefined) {
    const message = 'is needed by fleet: what sidecars tell each other is authenticated with the key that they share';
    found.push({ path: ['deployment_key_dir'], message });
  }
  return found;
}

/** What may be, but is probably not meant. */
export function fleetDoubts({ fleet: it, caching, callers }: Parts): readonly Finding[] {
  // An unreadable line may be the one that is missed.
  const mayBeFollowed = callers.some((line) => !line || line.may.includes('fleet'));
  if (it?.kind === 'local' && !mayBeFollowed) {
    return [{ path: ['fleet', 'engine'], message: 'is local, and nobody may follow: no line of callers holds fleet' }];
  }
  if (it?.kind === 'none' && callers.some((line) => line?.may.includes('fleet'))) {
    return [{ path: ['fleet', 'engine'], message: 'is none, and a line of callers holds fleet: there is nothing to follow' }];
  }
  if (it?.kind !== 'none' || !caching || caching.shared.servers.length === 0) return [];
  const message = 'is none, and a tier is shared: what is revoked at one sidecar is told to the others by their authority alone';
  return [{ path: ['fleet', 'engine'], message }];
}
