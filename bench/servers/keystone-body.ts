// What Keystone says of a project's token, in the shape and size that a real one (22.0.2) had with twenty services in its catalog.

/** What differs from token to token. */
export interface TokenFacts {
  readonly userId: string;
  readonly auditId: string;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  /** Role names. */
  readonly roles?: readonly string[];
}

const domain = { id: '834fc2b68d9942e8a85818a144a67ee1', name: 'acme' };
const project = { domain, id: '1e245548ae2442f1bd4eb5870d68064a', name: 'web' };

/** The domain and the project of every token. */
export const everybodys: { readonly domainId: string; readonly projectId: string } = { domainId: domain.id, projectId: project.id };
const services = [
  'identity',
  'compute',
  'image',
  'network',
  'placement',
  'volumev3',
  'object-store',
  'orchestration',
  'dns',
  'key-manager',
  'load-balancer',
  'container-infra',
  'shared-file-system',
  'metering',
  'alarming',
  'metric',
  'baremetal',
  'workflow',
  'messaging',
  'rating',
];

/**
 * The body of `GET /v3/auth/tokens`: some 13 kB with the catalog, some 0.8 kB without. `identityUrl`: where the catalog says that
 * Keystone is, which its users believe; undefined: no catalog.
 */
export function tokenBody(facts: TokenFacts, identityUrl: string | undefined): string {
  const token = {
    methods: ['password'],
    user: { domain, id: facts.userId, name: `name-${facts.userId}`, password_expires_at: null },
    audit_ids: [facts.auditId],
    expires_at: keystoneTime(facts.expiresAtMs),
    issued_at: keystoneTime(facts.issuedAtMs),
    project,
    is_domain: false,
    roles: (facts.roles ?? ['member', 'reader']).map((name) => ({ id: roleIdOf(name), name })),
    ...(identityUrl !== undefined && { catalog: catalogWith(identityUrl) }),
  };
  return JSON.stringify({ token });
}

/** Keystone tells whole seconds. */
function keystoneTime(ms: number): string {
  return new Date(Math.floor(ms / 1000) * 1000).toISOString().replace('.000Z', '.000000Z');
}

/** Of a role by that name. */
export function roleIdOf(name: string): string {
  return idOf(`role ${name}`);
}

/** 32 hex digits that look like an id, always the same for a name. */
function idOf(name: string): string {
  return Buffer.from(name.padEnd(16, '.')).toString('hex').slice(0, 32);
}

function catalogWith(identityUrl: string): object {
  return services.map((type, at) => ({
    endpoints: ['public', 'internal', 'admin'].map((kind) => ({
      id: idOf(`${kind.slice(0, 6)} ${type}`),
      interface: kind,
      region_id: 'RegionOne',
      url: type === 'identity' ? identityUrl : `http://${type}.${kind}.region-one.example:${8000 + at}/v${1 + (at % 3)}`,
      region: 'RegionOne',
    })),
    id: idOf(`service ${at}`),
    type,
    name: `the-${type}`,
  }));
}
