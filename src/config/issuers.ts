// How issuers are written, and what that means.

import * as z from 'zod';
import {
  choice,
  count,
  duration,
  type Files,
  flag,
  label,
  list,
  mapping,
  oneOf,
  path,
  type Section,
  section,
  text,
  tokenText,
  tokenType,
  unknownKey,
  url,
} from './leaves.ts';
import { serverTls, serverTlsOf } from './server-tls.ts';
import type {
  CallsConfig,
  ClientAuth,
  IssuerConfig,
  JwtAlgorithm,
  KeystoneKeys,
  KeystoneLogin,
  KeystoneNews,
  RevocationConfig,
  TlsConfig,
} from './types.ts';
import { parseDuration } from './units.ts';

// Asymmetric ones only: whoever verifies must not be able to issue.
const algorithms: readonly JwtAlgorithm[] = [
  'ES256',
  'ES384',
  'ES512',
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'EdDSA',
  'Ed25519',
];

const tls = mapping({ ca_file: path().nullable().default(null), server_name: text(253).nullable().default(null) }).prefault({});

const calls = mapping({
  deadline: duration('10ms', '60s').default('5s'),
  concurrency: count(1, 1024).default(16),
  queue: count(0, 65_536).default(256),
  attempts: count(1, 5).default(2),
}).prefault({});

const login = oneOf({
  application_credential: mapping({ id: text(255), secret_file: path() }).optional(),
  password: mapping({
    username: text(255),
    user_domain: text(255).default('Default'),
    project: text(255),
    project_domain: text(255).default('Default'),
    password_file: path(),
  }).optional(),
});

// A year: S12 keeps a revocation for as long.
const life = duration('1s', '8760h');
const skew = duration('0s', '5m');
const prefix = tokenText(64).nullable().default(null);
const serviceRoles = list(text(255), { min: 0, max: 64 }).default(['service']);
const client = mapping({ client_id: text(255), secret_file: path() });
const clientAuth = oneOf({ client_secret_basic: client.optional(), client_secret_post: client.optional() });
// RFC 7009.
const revocation = mapping({ url: url('with query'), auth: clientAuth })
  .nullable()
  .default(null);

// Of an AMQP exchange or topic.
const amqpName = () => text(255);
const keystoneNews = mapping({
  bus: mapping({
    transport_url_file: path(),
    tls: serverTls().prefault({}),
    exchange: amqpName().default('keystone'),
    topics: list(amqpName(), { min: 1, max: 16 }).default(['notifications']),
    declare_exchange: choice(['never', 'transient', 'durable']).default('never'),
    pool: label().nullable().default(null),
  })
    .nullable()
    .default(null),
  poll: mapping({
    every: duration('100ms', '5m').default('2s'),
    overlap: duration('1s', '10m').default('60s'),
    sweep: duration('1s', '24h').default('10m'),
  })
    .nullable()
    .default(null),
}).prefault({});
const keystoneKeys = mapping({
  fernet: path().nullable().default(null),
  jws: path().nullable().default(null),
  pki: mapping({ signing_cert_file: path(), ca_file: path() }).nullable().default(null),
}).prefault({});

const keystone = mapping({
  name: label(),
  kind: z.literal('keystone'),
  url: url('without query'),
  tls,
  login,
  accepts: list(choice(['fernet', 'keystone-jws', 'uuid', 'pki', 'opaque']), { min: 1, max: 5 }).default([
    'fernet',
    'keystone-jws',
    'uuid',
    'pki',
  ]),
  prefix,
  calls,
  skew: skew.default('0s'),
  max_token_life: life,
  // As Keystone's own [token] allow_expired_window.
  expired_within: duration('0s', '720h').default('48h'),
  service_roles: serviceRoles,
  revoke_upstream: flag().default(false),
  endless: flag().default(false),
  keys: keystoneKeys,
  news: keystoneNews,
});

const jwt = mapping({
  name: label(),
  kind: z.literal('jwt'),
  issuer: text(2048),
  keys: z
    .union([z.literal('discover'), oneOf({ url: url('with query').optional(), file: path().optional() })], {
      error: 'must be discover, { url: … } or { file: … }',
    })
    .default('discover'),
  tls,
  algorithms: list(choice(algorithms), { min: 1, max: algorithms.length }),
  types: list(tokenType(), { min: 1, max: 16 }).default(['at+jwt']),
  audiences: list(text(2048), { min: 0, max: 64 }).default([]),
  skew: skew.default('30s'),
  max_token_life: life,
  expired_within: duration('0s', '720h').default('0s'),
  service_roles: serviceRoles,
  revocation,
  revoke_upstream: flag().default(false),
  // No attempts: a key set is fetched on a schedule of its own, with pauses that grow.
  calls: mapping({ deadline: duration('10ms', '60s').default('5s') }).prefault({}),
});

const introspection = mapping({
  name: label(),
  kind: z.literal('introspection'),
  url: url('with query'),
  tls,
  auth: clientAuth,
  revocation,
  revoke_upstream: flag().default(false),
  service_roles: serviceRoles,
  accepts: list(choice(['opaque']), { min: 1, max: 1 }).default(['opaque']),
  prefix,
  calls,
  skew: skew.default('0s'),
  max_token_life: life,
  endless: flag().default(false),
});

const issuer = z.discriminatedUnion('kind', [keystone, jwt, introspection], {
  error: 'must have a kind: one of keystone, jwt, introspection',
});

/** What is said of the names in `written` that no kind of issuer has: where its kind is missing, nothing else can say it. */
export function strangersIn(written: Readonly<Record<string, unknown>>): readonly { readonly key: string; readonly message: string }[] {
  const known = [...new Set(issuer.options.flatMap((kind) => Object.keys(kind.shape)))];
  return Object.keys(written)
    .filter((key) => !known.includes(key))
    .map((key) => ({ key, message: unknownKey(key, known) }));
}

/** One issuer. */
export const issuerSection: Section<IssuerConfig> = section(issuer, meaning);

/** All of them. `serve` needs one (a rule). */
export const issuersSection: Section<readonly IssuerConfig[]> = section(list(issuer, { min: 0, max: 64 }).default([]), (them, files) =>
  them.map((it) => meaning(it, files)),
);

function meaning(it: z.output<typeof issuer>, files: Files): IssuerConfig {
  const base = {
    name: it.name,
    tls: tlsOf(it.tls, files),
    skewMs: parseDuration(it.skew),
    maxTokenLifeMs: parseDuration(it.max_token_life),
    serviceRoles: it.service_roles,
    revokeUpstream: it.revoke_upstream,
  };
  switch (it.kind) {
    case 'keystone':
      return {
        ...base,
        ...opaqueOf(it),
        kind: 'keystone',
        url: it.url.replace(/\/+$/, ''),
        login: loginOf(it.login, files),
        expiredWithinMs: parseDuration(it.expired_within),
        keys: keystoneKeysOf(it.keys, files),
        news: newsOf(it.news, files),
      };
    case 'jwt':
      return {
        ...base,
        kind: 'jwt',
        issuer: it.issuer,
        keys: keysOf(it.keys, files),
        algorithms: it.algorithms,
        types: it.types,
        audiences: it.audiences,
        revocation: revocationOf(it.revocation, files),
        calls: { deadlineMs: parseDuration(it.calls.deadline) },
        expiredWithinMs: parseDuration(it.expired_within),
      };
    case 'introspection':
      return {
        ...base,
        ...opaqueOf(it),
        kind: 'introspection',
        url: it.url,
        auth: authOf(it.auth, files),
        revocation: revocationOf(it.revocation, files),
      };
  }
}

function tlsOf(it: z.output<typeof tls>, files: Files): TlsConfig {
  return { caFile: it.ca_file === null ? undefined : files.secret(it.ca_file), serverName: it.server_name ?? undefined };
}

function opaqueOf<A>(it: { accepts: A; prefix: string | null; endless: boolean; calls: z.output<typeof calls> }): {
  accepts: A;
  prefix: string | undefined;
  endless: boolean;
  calls: CallsConfig;
} {
  const { deadline, ...rest } = it.calls;
  return {
    accepts: it.accepts,
    prefix: it.prefix ?? undefined,
    endless: it.endless,
    calls: { ...rest, deadlineMs: parseDuration(deadline) },
  };
}

function loginOf({ application_credential, password }: z.output<typeof login>, files: Files): KeystoneLogin {
  if (application_credential !== undefined) {
    return { kind: 'application-credential', id: application_credential.id, secret: files.secret(application_credential.secret_file) };
  }
  if (password === undefined) throw unreachable();
  return {
    kind: 'password',
    username: password.username,
    userDomain: password.user_domain,
    project: password.project,
    projectDomain: password.project_domain,
    password: files.secret(password.password_file),
  };
}

function keystoneKeysOf({ fernet, jws, pki }: z.output<typeof keystoneKeys>, files: Files): KeystoneKeys {
  return {
    fernetDir: fernet === null ? undefined : files.path(fernet),
    jwsDir: jws === null ? undefined : files.path(jws),
    pki: pki === null ? undefined : { signingCert: files.secret(pki.signing_cert_file), ca: files.secret(pki.ca_file) },
  };
}

function newsOf({ bus, poll }: z.output<typeof keystoneNews>, files: Files): KeystoneNews {
  return {
    bus:
      bus === null
        ? undefined
        : {
            transportUrl: files.secret(bus.transport_url_file),
            tls: serverTlsOf(bus.tls, files),
            exchange: bus.exchange,
            topics: bus.topics,
            declareExchange: bus.declare_exchange,
            pool: bus.pool ?? undefined,
          },
    poll:
      poll === null
        ? undefined
        : { everyMs: parseDuration(poll.every), overlapMs: parseDuration(poll.overlap), sweepMs: parseDuration(poll.sweep) },
  };
}

function keysOf(it: z.output<typeof jwt>['keys'], files: Files): Extract<IssuerConfig, { kind: 'jwt' }>['keys'] {
  if (it === 'discover') return { kind: 'discover' };
  if (it.url !== undefined) return { kind: 'url', url: it.url };
  if (it.file === undefined) throw unreachable();
  return { kind: 'file', file: files.secret(it.file) };
}

function revocationOf(it: z.output<typeof revocation>, files: Files): RevocationConfig | undefined {
  return it === null ? undefined : { url: it.url, auth: authOf(it.auth, files) };
}

function authOf({ client_secret_basic: basic, client_secret_post: post }: z.output<typeof clientAuth>, files: Files): ClientAuth {
  const it = basic ?? post;
  if (it === undefined) throw unreachable();
  return { kind: basic === undefined ? 'post' : 'basic', clientId: it.client_id, clientSecret: files.secret(it.secret_file) };
}

// `oneOf` has made sure that one is there; its type cannot say so.
function unreachable(): Error {
  return new Error('none of the alternatives is there, although the schema requires one');
}
