// The rules between settings: what each of them alone cannot say.

import type { Path } from './document.ts';
import { fleetDoubts, fleetRules } from './fleet.ts';
import { listenTlsRules } from './listen-tls.ts';
import { sharedDoubts, sharedRules } from './shared-rules.ts';
import type {
  Address,
  CachingConfig,
  CallerRule,
  FleetConfig,
  IssuerConfig,
  KeystoneIssuer,
  LimitsConfig,
  ListenConfig,
  Permission,
  TokenShape,
  WatchConfig,
} from './types.ts';
import { isLoopback } from './units.ts';

/** A rule that does not hold, where it is to be mended. */
export interface Finding {
  readonly path: Path;
  readonly message: string;
}

/** What of the configuration could be read; a part that could not is undefined and its rules wait. */
export interface Parts {
  readonly deploymentKeys?: { readonly dir: string | undefined } | undefined;
  readonly listen?: ListenConfig | undefined;
  readonly callers: readonly (CallerRule | undefined)[];
  readonly issuers: readonly (IssuerConfig | undefined)[];
  readonly caching?: CachingConfig | undefined;
  readonly journal?: { readonly dir: string | undefined } | undefined;
  readonly maxLagMs?: number | undefined;
  readonly fleet?: FleetConfig | undefined;
  readonly watch?: WatchConfig | undefined;
  readonly limits?: LimitsConfig | undefined;
}

/** What must not be, in any order. `dev`: without what only `serve` needs (an issuer, a journal on disk). */
export function brokenRules(parts: Parts, purpose: 'serve' | 'dev'): readonly Finding[] {
  return [
    ...(purpose === 'serve' ? needsOfServe(parts) : []),
    ...(parts.listen ? listenRules(parts.listen, parts.issuers) : []),
    ...(parts.listen?.remote ? listenTlsRules(parts.listen.remote.tls) : []),
    ...callerRules(parts),
    ...issuerRules(parts.issuers),
    ...newsRules(parts),
    ...settleRules(parts),
    ...poolRules(parts),
    ...(parts.caching ? cachingRules(parts.caching) : []),
    ...sharedRules(parts),
    ...fleetRules(parts),
    ...timeAndSizeRules(parts),
  ];
}

/** What may be, but is probably not meant. */
export function doubts(parts: Parts): readonly Finding[] {
  const found: Finding[] = [...sharedDoubts(parts), ...fleetDoubts(parts)];
  const hasExpiredFace = parts.listen?.keystone?.allowExpired === true;
  for (const [index, issuer] of parts.issuers.entries()) {
    for (const [name, url] of urlsOf(issuer)) {
      if (isOpenHttp(url))
        found.push({ path: ['issuers', index, ...name], message: 'is http to another host: whoever is between reads and forges' });
    }
    if (issuer && isExpiryUnused(issuer, hasExpiredFace)) {
      const message = 'is empty: nobody can show a service token, and expired_within only keeps revocations for longer';
      found.push({ path: ['issuers', index, 'service_roles'], message });
    }
  }
  // Nobody shows an identity at a face. An unreadable line may be the one that is missed.
  const isOpen = parts.callers.some((it) => !it || (it.who.kind === 'local' && it.may.includes('validate')));
  for (const face of ['keystone', 'introspection'] as const) {
    if (!isOpen && parts.listen?.[face]) {
      found.push({ path: ['listen', face], message: 'answers nobody: callers must let { local: true } validate' });
    }
  }
  for (const [index, caller] of parts.callers.entries()) {
    const listener = caller && listenerOf(caller);
    if (listener && parts.listen && !parts.listen[listener]) {
      found.push({ path: ['callers', index, 'who'], message: `fits nobody: listen.${listener} is off` });
    }
  }
  // Local lines give nothing there. An unreadable line may be the one that is missed.
  const namesSomebody = parts.callers.some((it) => !it || it.who.kind === 'token-role' || listenerOf(it) === 'remote');
  if (parts.listen?.remote && !namesSomebody) {
    found.push({
      path: ['listen', 'remote'],
      message: 'lets nobody do more than revoke a token that he has: no line of callers names one',
    });
  }
  return found;
}

/** The one listener where a line can fit somebody; undefined: several. */
function listenerOf({ who }: CallerRule): 'socket' | 'remote' | undefined {
  if (who.kind === 'socket') return 'socket';
  return who.kind === 'spiffe-id' || who.kind === 'certificate-name' ? 'remote' : undefined;
}

/** Its tokens may serve beyond their end, and nothing lets them. At Keystone's face the caller has judged the service token by itself. */
function isExpiryUnused(issuer: IssuerConfig, hasExpiredFace: boolean): boolean {
  if (issuer.kind === 'introspection' || issuer.expiredWithinMs === 0 || issuer.serviceRoles.length > 0) return false;
  return issuer.kind !== 'keystone' || !hasExpiredFace;
}

function needsOfServe({ issuers, journal }: Parts): readonly Finding[] {
  const found: Finding[] = [];
  if (issuers.length === 0) found.push({ path: ['issuers'], message: 'must hold at least one issuer' });
  if (journal && journal.dir === undefined) {
    found.push({ path: ['journal', 'dir'], message: 'is needed: without it a restart forgets what was revoked' });
  }
  return found;
}

function listenRules(listen: ListenConfig, issuers: Parts['issuers']): readonly Finding[] {
  const { socket, tcp, remote, operations, keystone, introspection } = listen;
  const found: Finding[] = [];
  if (!socket && !tcp && !remote) found.push({ path: ['listen'], message: 'must keep socket, tcp or remote: nobody could call' });
  if (socket && Buffer.byteLength(socket.path) > 107) {
    found.push({
      path: ['listen', 'socket', 'path'],
      message: 'must be at most 107 bytes as an absolute path: longer ones cannot be bound',
    });
  }
  const ports: readonly (readonly [path: readonly string[], address: Address | undefined])[] = [
    [['listen', 'tcp'], tcp],
    [['listen', 'remote', 'address'], remote?.address],
    [['listen', 'operations'], operations],
    [['listen', 'keystone', 'address'], keystone?.address],
    [['listen', 'introspection'], introspection],
  ];
  for (const [index, [path, address]] of ports.entries()) {
    const taken = ports.slice(0, index).find(([, other]) => address && address.port !== 0 && other?.port === address.port);
    if (taken) found.push({ path, message: `must have another port than ${taken[0].join('.')}` });
  }
  // Not judged while an issuer cannot be read: it may be the one that is missed.
  if (keystone && !issuers.includes(undefined) && !issuers.some((it) => it?.kind === 'keystone')) {
    found.push({ path: ['listen', 'keystone'], message: 'needs an issuer of kind keystone: the face speaks for it' });
  }
  return found;
}

/** Loopback TCP tells nothing of who calls, so what needs an identity cannot be given there. */
const needsIdentity: readonly Permission[] = ['revoke', 'refresh', 'find', 'details', 'fleet'];

function callerRules({ callers, issuers }: Parts): readonly Finding[] {
  const found: Finding[] = [];
  // Not judged while an issuer cannot be read: its name may be the one that is missed.
  const names = issuers.includes(undefined) ? undefined : new Set(issuers.map((it) => it?.name));
  for (const [index, caller] of callers.entries()) {
    const who = caller?.who;
    if (who?.kind === 'token-role' && names && !names.has(who.issuer)) {
      found.push({ path: ['callers', index, 'who', 'issuer'], message: 'must be the name of one of the issuers' });
    }
    if (who?.kind === 'local' && caller?.may.some((it) => needsIdentity.includes(it))) {
      found.push({
        path: ['callers', index, 'may'],
        message:
          'must not hold revoke, refresh, find, details or fleet for local callers: they have no identity; use { socket: true }, a certificate or a token_role',
      });
    }
  }
  return found;
}

function issuerRules(issuers: readonly (IssuerConfig | undefined)[]): readonly Finding[] {
  const found: Finding[] = [];
  for (const [index, later] of issuers.entries()) {
    if (!later) continue;
    if (later.kind === 'jwt' && later.keys.kind === 'discover' && !isHttpUrl(later.issuer)) {
      found.push({ path: ['issuers', index, 'issuer'], message: 'must be an http(s) URL for its keys to be discovered; or set keys' });
    }
    if (later.kind !== 'keystone' && later.revokeUpstream && !later.revocation) {
      found.push({ path: ['issuers', index, 'revoke_upstream'], message: 'needs revocation: where it is told, and who we are there' });
    }
    if (later.kind === 'keystone') found.push(...keyRules(later, index));
    for (const [earlierIndex, earlier] of issuers.slice(0, index).entries()) {
      if (!earlier) continue;
      const other = `issuers[${earlierIndex}]`;
      if (earlier.name === later.name) found.push({ path: ['issuers', index, 'name'], message: `must not be that of ${other}` });
      const shared = sharedBy(earlier, later);
      if (shared)
        found.push({ path: ['issuers', index, shared.field], message: `${shared.message} ${other}: a token must have one issuer` });
    }
  }
  return found;
}

/** Keys of tokens that the issuer does not accept would read nothing. */
function keyRules({ keys, accepts }: KeystoneIssuer, index: number): readonly Finding[] {
  const needs: readonly (readonly [name: string, isThere: boolean, shape: TokenShape])[] = [
    ['fernet', keys.fernetDir !== undefined, 'fernet'],
    ['jws', keys.jwsDir !== undefined, 'keystone-jws'],
    ['pki', keys.pki !== undefined, 'pki'],
  ];
  return needs
    .filter(([, isThere, shape]) => isThere && !accepts.includes(shape))
    .map(([name, , shape]) => ({ path: ['issuers', index, 'keys', name], message: `needs ${shape} in accepts` }));
}

/** News must come well within the time after which they are missed, or every answer would be degraded between two of them. */
function newsRules({ issuers, maxLagMs }: Parts): readonly Finding[] {
  if (maxLagMs === undefined) return [];
  return issuers.flatMap((issuer, index) => {
    const poll = issuer?.kind === 'keystone' ? issuer.news.poll : undefined;
    if (!poll) return [];
    const found: Finding[] = [];
    if (2 * poll.everyMs > maxLagMs) {
      found.push({ path: ['issuers', index, 'news', 'poll', 'every'], message: 'must be at most half of max_lag: one poll may fail' });
    }
    if (poll.sweepMs < poll.everyMs) {
      found.push({ path: ['issuers', index, 'news', 'poll', 'sweep'], message: 'must be at least news.poll.every' });
    }
    return found;
  });
}

/** A message that hides whom it means is told when the poll has been looked at twice: that must not look like a bus that is behind. */
function settleRules({ issuers, maxLagMs, caching }: Parts): readonly Finding[] {
  const hasBus = issuers.some((issuer) => issuer?.kind === 'keystone' && issuer.news.bus !== undefined);
  if (!hasBus || !caching || maxLagMs === undefined || 3 * caching.settleMs <= maxLagMs) return [];
  return [
    {
      path: ['caching', 'settle'],
      message: 'must be at most a third of max_lag with news.bus: a message may wait for two settle windows before it is told',
    },
  ];
}

/** Its proofs come by the log, which takes a sign of life and a marker: up to 3 s, where nothing is slow. */
const shortestLagOfPoolsMs = 5_000;

/** What one sidecar hears for all goes to the others through the log of their fleet. */
function poolRules({ issuers, maxLagMs, fleet }: Parts): readonly Finding[] {
  return issuers.flatMap((issuer, index) => {
    if (issuer?.kind !== 'keystone' || issuer.news.bus?.pool === undefined) return [];
    const path = ['issuers', index, 'news', 'bus', 'pool'];
    const found: Finding[] = [];
    if (fleet?.kind === 'none') found.push({ path, message: 'needs fleet.engine: who reads the queue tells the others through it' });
    if (maxLagMs !== undefined && maxLagMs < shortestLagOfPoolsMs) {
      found.push({ path: ['max_lag'], message: `must be at least 5s with issuers[${index}].news.bus.pool: its proofs come by the fleet` });
    }
    return found;
  });
}

/** What makes both accept one token. Among prefixes the longest wins, so only equal ones clash. */
function sharedBy(a: IssuerConfig, b: IssuerConfig): { readonly field: string; readonly message: string } | undefined {
  if (a.kind === 'jwt' || b.kind === 'jwt') {
    const same = a.kind === 'jwt' && b.kind === 'jwt' && a.issuer === b.issuer;
    return same ? { field: 'issuer', message: 'must not be that of' } : undefined;
  }
  const shapes = b.accepts.filter((it) => a.accepts.includes(it));
  if (shapes.length === 0 || a.prefix !== b.prefix) return undefined;
  const message = `(${shapes.join(', ')}) must not be accepted under the same prefix as by`;
  return { field: b.prefix === undefined ? 'accepts' : 'prefix', message };
}

function cachingRules({ settleMs, token, keys, unknown }: CachingConfig): readonly Finding[] {
  const found: Finding[] = [];
  if (settleMs >= token.timeMs) found.push({ path: ['caching', 'settle'], message: 'must be less than caching.token.time' });
  if (keys.cooldownMs > keys.timeMs) found.push({ path: ['caching', 'keys', 'cooldown'], message: 'must be at most caching.keys.time' });
  if (unknown.timeMs > token.timeMs) found.push({ path: ['caching', 'unknown', 'time'], message: 'must be at most caching.token.time' });
  return found;
}

function timeAndSizeRules({ maxLagMs, watch, limits }: Parts): readonly Finding[] {
  const found: Finding[] = [];
  if (maxLagMs !== undefined && watch && maxLagMs < 3 * watch.checkpointIntervalMs) {
    found.push({
      path: ['max_lag'],
      message: 'must be at least three times watch.checkpoint_interval: a proof must outlive a lost checkpoint',
    });
  }
  if (limits && limits.tokenSizeBytes > limits.requestSizeBytes) {
    found.push({ path: ['limits', 'token_size'], message: 'must be at most limits.request_size' });
  }
  return found;
}

function urlsOf(issuer: IssuerConfig | undefined): readonly (readonly [readonly string[], string])[] {
  if (!issuer) return [];
  if (issuer.kind === 'keystone') return [[['url'], issuer.url]];
  const told = issuer.revocation ? [[['revocation', 'url'], issuer.revocation.url] as const] : [];
  if (issuer.kind === 'introspection') return [[['url'], issuer.url], ...told];
  if (issuer.keys.kind === 'url') return [[['keys', 'url'], issuer.keys.url], ...told];
  return issuer.keys.kind === 'discover' ? [[['issuer'], issuer.issuer], ...told] : told;
}

function isHttpUrl(text: string): boolean {
  return /^https?:\/\//.test(text) && URL.canParse(text);
}

function isOpenHttp(url: string): boolean {
  if (!url.startsWith('http://') || !URL.canParse(url)) return false;
  return !isLoopback(new URL(url).hostname.replace(/^\[|\]$/g, ''));
}
