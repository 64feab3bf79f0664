// All parts of the configuration together: their names, their JSON Schema, their defaults.

import * as z from 'zod';
import { fleetSection } from './fleet.ts';
import { issuersSection } from './issuers.ts';
import { type Files, mapping, type Section } from './leaves.ts';
import * as sections from './sections.ts';
import type { CachingConfig, Config, IssuerConfig } from './types.ts';

/** The parts under their written names, in the order of the example. */
export const parts: {
  readonly name: Section<Config['name']>;
  readonly deployment_key_dir: Section<Config['deploymentKeyDir']>;
  readonly listen: Section<Config['listen']>;
  readonly callers: Section<Config['callers']>;
  readonly issuers: Section<Config['issuers']>;
  readonly caching: Section<Config['caching']>;
  readonly journal: Section<Config['journal']>;
  readonly max_lag: Section<Config['maxLagMs']>;
  readonly when_degraded: Section<Config['whenDegraded']>;
  readonly fleet: Section<Config['fleet']>;
  readonly watch: Section<Config['watch']>;
  readonly limits: Section<Config['limits']>;
  readonly audit: Section<Config['audit']>;
  readonly logging: Section<Config['logging']>;
  readonly shutdown: Section<Config['shutdown']>;
} = {
  name: sections.nameSection,
  deployment_key_dir: sections.deploymentKeyDirSection,
  listen: sections.listenSection,
  callers: sections.callersSection,
  issuers: issuersSection,
  caching: sections.cachingSection,
  journal: sections.journalSection,
  max_lag: sections.maxLagSection,
  when_degraded: sections.whenDegradedSection,
  fleet: fleetSection,
  watch: sections.watchSection,
  limits: sections.limitsSection,
  audit: sections.auditSection,
  logging: sections.loggingSection,
  shutdown: sections.shutdownSection,
};

/** JSON Schema (2020-12) of what may be written. Ranges of durations and sizes are `x-minimum` and `x-maximum`; rules between settings are not in it. */
export function configSchema(): Readonly<Record<string, unknown>> {
  const whole = mapping(Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, part.schema])));
  return { ...z.toJSONSchema(whole, { io: 'input' }), title: 'Sidegate' };
}

/** What `written` means. It must fit the parts: throws where it does not. */
export function configOf(written: Readonly<Record<string, unknown>>, files: Files): Config {
  const issuers = parts.issuers.read(written['issuers'], files);
  return {
    name: parts.name.read(written['name'], files),
    deploymentKeyDir: parts.deployment_key_dir.read(written['deployment_key_dir'], files),
    listen: parts.listen.read(written['listen'], files),
    callers: parts.callers.read(written['callers'], files),
    issuers,
    caching: bounded(parts.caching.read(written['caching'], files), issuers),
    journal: parts.journal.read(written['journal'], files),
    maxLagMs: parts.max_lag.read(written['max_lag'], files),
    whenDegraded: parts.when_degraded.read(written['when_degraded'], files),
    fleet: parts.fleet.read(written['fleet'], files),
    watch: parts.watch.read(written['watch'], files),
    limits: parts.limits.read(written['limits'], files),
    audit: parts.audit.read(written['audit'], files),
    logging: parts.logging.read(written['logging'], files),
    shutdown: parts.shutdown.read(written['shutdown'], files),
  };
}

// "token" is until the token ends, and none lives longer than its issuer allows. A finite time keeps S12 finite.
function bounded(caching: CachingConfig, issuers: readonly IssuerConfig[]): CachingConfig {
  if (caching.token.timeMs !== Infinity) return caching;
  const longestMs = Math.max(0, ...issuers.map((it) => it.maxTokenLifeMs)) || 86_400_000;
  return { ...caching, token: { ...caching.token, timeMs: longestMs } };
}
