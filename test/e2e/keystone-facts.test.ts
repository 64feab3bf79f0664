// What Keystone says of each kind of token is what Sidegate says; demands, spellings, strangers' strings; and what dies by which revocation.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Demand, SelectorFields, Token } from '../../src/client/index.ts';
import { byApplicationCredential, keystoneCall, keystoneLogin, keystoneRequest } from './lab/keystone-api.ts';
import { describeWithKeystone, type Lab, startKeystone, type TokenKind } from './lab.ts';
import { forged, type LabSidecar, noAnswer, spellingsOf, startSidecar, verdict, wordOf } from './sidecar.ts';

const labKinds = [
  'unscoped',
  'project',
  'domain',
  'system',
  'trust',
  'trust_impersonating',
  'application_credential',
  'admin',
  'validator',
  'dave',
] as const satisfies readonly TokenKind[];
/** `rescoped`: alice's `unscoped` token exchanged for one on project web. */
type Kind = (typeof labKinds)[number] | 'rescoped';
const kinds: readonly Kind[] = [...labKinds, 'rescoped'];

describeWithKeystone('a sidecar before a real Keystone', () => {
  let lab: Lab;
  let admin: string;
  let sidecar: LabSidecar;

  beforeAll(async () => {
    lab = await startKeystone();
    admin = await lab.token('admin');
  }, 240_000);
  afterAll(() => lab?.close());
  beforeEach(async () => {
    sidecar = await startSidecar(lab);
    lab.proxy.forget();
  });
  afterEach(() => sidecar?.close());

  const asked = () => lab.proxy.count('GET', '/v3/auth/tokens');
  /** Resolves in the first second whose tokens the revocation of `token` spares, to the last one whose tokens it does not. */
  const afterCutOff = async (token: string): Promise<number> => {
    const answer = await sidecar.client.validate(token);
    const cutOffMs = answer.active ? undefined : answer.revokedBy?.issuedBeforeMs;
    if (cutOffMs === undefined) throw new Error(`it is ${wordOf(answer)}, by no cut-off`);
    do await lab.nextSecond();
    while (Date.now() < cutOffMs + 1000);
    return cutOffMs;
  };
  const rescope = (token: string) =>
    keystoneLogin(lab.url, { methods: ['token'], token: { id: token } }, { project: { id: lab.seed.projects.web } });
  /** Keystone's own words about a token, for an admin that knows access rules. */
  const keystonesWords = async (token: string): Promise<KeystonesToken> => {
    const headers = { 'x-subject-token': token, 'openstack-identity-access-rules': '1.0' };
    const reply = await keystoneRequest(lab.url, 'GET', '/auth/tokens?nocatalog', { token: admin, headers });
    expect(reply.status).toBe(200);
    return (reply.body as { readonly token: KeystonesToken }).token;
  };

  describe('facts', () => {
    test.each(kinds)('a token of kind %s is active with exactly the facts that Keystone gives', async (kind) => {
      const token = kind === 'rescoped' ? await rescope(await lab.token('unscoped')) : await lab.token(kind);
      const words = await keystonesWords(token);
      const beganMs = Date.now();

      const first = await sidecar.stranger.validate(token, { include: { claims: true } });
      const second = await sidecar.stranger.validate(token, { include: { claims: true } });

      expect([wordOf(first), first.provenance, first.degraded]).toEqual(['active', 'authority', false]);
      expect([wordOf(second), second.provenance, second.degraded]).toEqual(['active', 'memory', false]);
      expect(second.token).toEqual(first.token);
      const { claimsJson, ...facts } = first.token as Token;
      expect(JSON.parse(claimsJson ?? '')).toEqual(words);
      expect(facts).toEqual(expectedFacts(words));
      expect(first.confirmedAtMs).toBeGreaterThanOrEqual(beganMs);
      expect(first.confirmedAtMs).toBeLessThanOrEqual(Date.now());
      expect(asked()).toBe(1);
    });

    test('the kinds differ as their names say', async () => {
      const { seed } = lab;
      const { alice, bob } = seed.users;
      const of = async (kind: TokenKind) => (await sidecar.client.validate(await lab.token(kind))).token;
      expect(await of('unscoped')).toMatchObject({ scope: { kind: 'unscoped' }, roles: [], user: { id: alice.id, name: 'alice' } });
      expect(await of('domain')).toMatchObject({ scope: { kind: 'domain', domain: { id: seed.domains.acme, name: 'acme' } } });
      expect(await of('system')).toMatchObject({ scope: { kind: 'system' }, roles: [{ id: seed.roles.reader, name: 'reader' }] });
      const trust = { trustorUserId: alice.id, trusteeUserId: bob.id };
      expect(await of('trust')).toMatchObject({
        user: { id: bob.id },
        scope: { kind: 'project', project: { id: seed.projects.web } },
        trust: { id: seed.trusts.plain, ...trust, impersonation: false },
      });
      expect(await of('trust_impersonating')).toMatchObject({
        user: { id: alice.id },
        trust: { id: seed.trusts.impersonating, ...trust, impersonation: true },
      });
      expect(await of('application_credential')).toMatchObject({
        methods: ['application_credential'],
        applicationCredential: { id: seed.applicationCredentials.plain.id, name: 'plain', restricted: true },
      });
    });

    test('a token ends with its application credential: EXPIRED from then on, without a question', async () => {
      const { alice } = lab.seed.users;
      const endsAtMs = Math.floor(Date.now() / 1000) * 1000 + 12_000;
      const fields = { name: 'short', secret: 'short-secret', expires_at: new Date(endsAtMs).toISOString().replace('.000Z', '.000000') };
      const path = `/users/${alice.id}/application_credentials`;
      const made = await keystoneCall(lab.url, 'POST', path, await lab.token('project'), { application_credential: fields });
      const { id } = (made as { readonly application_credential: { readonly id: string } }).application_credential;
      const token = await keystoneLogin(lab.url, byApplicationCredential(id, fields.secret));
      const answer = await sidecar.client.validate(token);
      expect(answer).toMatchObject({ active: true, token: { expiresAtMs: endsAtMs } });
      await expect.poll(() => verdict(sidecar.client, token), { timeout: 60_000 }).not.toBe('active');
      expect(Date.now()).toBeGreaterThanOrEqual(endsAtMs);
      expect(await verdict(sidecar.client, token)).toBe('EXPIRED');
      expect(asked()).toBe(1);
    });

    test('a token with access rules is inactive where the demand names no request', async () => {
      const token = await lab.token('application_credential_access_rules');
      const answer = await sidecar.client.validate(token, { include: { details: true } });
      expect(wordOf(answer)).toBe('ACCESS_DENIED');
      expect(answer.token).toMatchObject({ applicationCredential: { id: lab.seed.applicationCredentials.rules.id } });
      expect(await verdict(sidecar.stranger, token, { demand: { anyOfRoles: ['member'] } })).toBe('ACCESS_DENIED');
      expect(asked()).toBe(1);
    });
  });

  test('a demand by project, domain, system, role or issuer holds for the tokens that meet it and fails for the others', async () => {
    const { projects, domains } = lab.seed;
    const tokens = { project: await lab.token('project'), domain: await lab.token('domain'), system: await lab.token('system') };
    const on = (kind: 'project' | 'domain', id: string): Demand => ({ scope: { kind, id } });
    const rows: readonly (readonly [keyof typeof tokens, Demand, string])[] = [
      ['project', on('project', projects.web), 'active'],
      ['project', on('project', projects.db), 'WRONG_SCOPE'],
      ['project', on('domain', domains.acme), 'WRONG_SCOPE'],
      ['project', { scope: { kind: 'system' } }, 'WRONG_SCOPE'],
      ['domain', on('domain', domains.acme), 'active'],
      ['domain', on('domain', 'default'), 'WRONG_SCOPE'],
      ['domain', on('project', domains.acme), 'WRONG_SCOPE'],
      ['system', { scope: { kind: 'system' } }, 'active'],
      ['system', on('project', projects.web), 'WRONG_SCOPE'],
      ['project', { anyOfRoles: ['auditor'] }, 'active'],
      ['project', { anyOfRoles: ['admin', 'member'] }, 'active'],
      ['project', { anyOfRoles: ['admin'] }, 'MISSING_ROLE'],
      ['system', { anyOfRoles: ['member'] }, 'MISSING_ROLE'],
      ['project', { ...on('project', projects.web), anyOfRoles: ['auditor'] }, 'active'],
      ['project', { ...on('project', projects.db), anyOfRoles: ['auditor'] }, 'WRONG_SCOPE'],
      ['project', { anyOfIssuers: ['central'] }, 'active'],
      ['project', { anyOfIssuers: ['elsewhere'] }, 'WRONG_ISSUER'],
      ['project', { allOfScopes: ['read'] }, 'MISSING_SCOPE'],
    ];
    const found: unknown[] = [];
    for (const [kind, demand] of rows) found.push([kind, demand, await verdict(sidecar.stranger, tokens[kind], { demand })]);
    expect(found).toEqual(rows);
    expect(asked()).toBe(3);
  });

  describe('strings', () => {
    test('a thousand concurrent calls about one unknown token are one question to Keystone', async () => {
      const token = await lab.token('project');
      const answers = await Promise.all(Array.from({ length: 1000 }, () => verdict(sidecar.stranger, token)));
      expect(new Set(answers)).toEqual(new Set(['active']));
      expect([asked(), lab.logins()]).toEqual([1, 1]);
    });

    test('sixteen spellings of one Fernet token are one token: one question, and one revocation kills all', async () => {
      const token = await tokenOfLength(lab, 2);
      const spellings = spellingsOf(token);
      expect(new Set(spellings).size).toBe(spellings.length);
      expect(spellings.length).toBeGreaterThanOrEqual(16);

      const answers = await Promise.all(spellings.map((spelling) => sidecar.stranger.validate(spelling)));
      expect(new Set(answers.map(wordOf))).toEqual(new Set(['active']));
      expect(new Set(answers.map((answer) => answer.fingerprint)).size).toBe(1);
      expect(asked()).toBe(1);

      await sidecar.stranger.revoke({ token: spellings.at(-1) ?? '' });
      expect(new Set(await Promise.all(spellings.map((spelling) => verdict(sidecar.stranger, spelling))))).toEqual(new Set(['REVOKED']));
      expect(asked()).toBe(1);
    });

    test('what only looks like Fernet is refused, and asked about once until the refusal has had its time', async () => {
      const strange = forged(await lab.token('project'), 1);
      expect(await verdict(sidecar.stranger, strange)).toBe('REFUSED');
      expect(await Promise.all(spellingsOf(strange).map((spelling) => verdict(sidecar.stranger, spelling)))).not.toContain('active');
      expect(asked()).toBe(1);
      sidecar.elapse(5000);
      expect(await verdict(sidecar.stranger, strange)).toBe('REFUSED');
      expect(asked()).toBe(2);
    });

    test('strings that no token of Keystone looks like are MALFORMED, without a question to it', async () => {
      const texts = [
        'not a token',
        'a'.repeat(65_537),
        'tökén',
        'a\u0000b',
        '../../v3/users',
        '0'.repeat(31),
        'eyJhbGciOiJub25lIn0.bm9uZQ.',
        'eyJhbGciOiJub25lIn0.e30.',
        'eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0.AAAA',
      ];
      const words = await Promise.all(texts.map((text) => verdict(sidecar.stranger, text)));
      expect(words).toEqual(texts.map(() => 'MALFORMED'));
      expect([asked(), lab.logins()]).toEqual([0, 0]);
    });

    test('no token and no password is ever in the log', async () => {
      const tokens = [await lab.token('project'), await lab.token('trust')];
      for (const token of tokens) await sidecar.stranger.validate(token);
      await sidecar.stranger.revoke({ token: tokens[0] ?? '' });
      expect(sidecar.logged()).toContain('"revoke"');
      expect([...tokens, lab.seed.users.validator.password].filter((secret) => sidecar.logged().includes(secret))).toEqual([]);
    });
  });

  describe('revoked here', () => {
    test('by who has it: dead at the very next call, for everybody, and after a restart', async () => {
      const [gone, stays] = [await lab.token('project'), await lab.token('project')];
      expect([await verdict(sidecar.stranger, gone), await verdict(sidecar.stranger, stays)]).toEqual(['active', 'active']);

      await sidecar.stranger.revoke({ token: gone }, { reason: 'logout' });

      const answer = await sidecar.client.validate(gone, { include: { details: true } });
      expect(answer).toMatchObject({ active: false, reason: 'REVOKED', revokedBy: { effect: 'REVOKE', origin: { reason: 'logout' } } });
      expect(await verdict(sidecar.stranger, stays)).toBe('active');
      await sidecar.restart();
      expect([await verdict(sidecar.stranger, gone), await verdict(sidecar.stranger, stays)]).toEqual(['REVOKED', 'active']);
    });

    test('by who has it, never seen here before: dead at its first question, and so is no other', async () => {
      const [gone, stays] = [await lab.token('project'), await lab.token('project')];
      await sidecar.stranger.revoke({ token: gone });
      expect([await verdict(sidecar.stranger, gone), await verdict(sidecar.stranger, stays)]).toEqual(['REVOKED', 'active']);
      await sidecar.restart();
      expect([await verdict(sidecar.stranger, gone), await verdict(sidecar.stranger, stays)]).toEqual(['REVOKED', 'active']);
    });

    test('while Keystone is away, and asked about when it is back', async () => {
      const token = await lab.token('project');
      lab.proxy.misbehave(() => ({ kind: 'cut' }));
      await sidecar.stranger.revoke({ token });
      lab.proxy.behave();
      sidecar.elapse(30_000);
      expect(await verdict(sidecar.stranger, token)).toBe('REVOKED');
    });

    test('a stranger may not revoke by selector', async () => {
      const refused = await sidecar.stranger.revoke({ selector: { everything: true } }).catch((error: unknown) => error);
      expect(refused).toMatchObject({ name: 'NoAnswerError', code: 'UNAUTHENTICATED' });
      expect(await verdict(sidecar.stranger, await lab.token('project'))).toBe('active');
    });

    test('tokens issued in the second of the cut-off are dead, those of the next one live', async () => {
      const { alice } = lab.seed.users;
      const token = await lab.token('project');
      const { issuedAtMs = 0 } = (await sidecar.client.validate(token)).token ?? {};
      await sidecar.client.revoke({ selector: { userId: alice.id } }, { issuedBeforeMs: issuedAtMs - 1000 });
      expect(await verdict(sidecar.stranger, token)).toBe('active');
      await sidecar.client.revoke({ selector: { userId: alice.id } }, { issuedBeforeMs: issuedAtMs });
      expect(await verdict(sidecar.stranger, token)).toBe('REVOKED');

      const revokedAtMs = Date.now();
      await sidecar.client.revoke({ selector: { userId: alice.id } });
      // Without a time it is now and the skew that is allowed between clocks, 2 s.
      const cutOffMs = await afterCutOff(token);
      expect(cutOffMs).toBeGreaterThan(revokedAtMs - 1000);
      expect(cutOffMs).toBeLessThanOrEqual(Date.now() + 2000);
      expect(await verdict(sidecar.stranger, await lab.token('project'))).toBe('active');
      expect(await verdict(sidecar.stranger, token)).toBe('REVOKED');
    });

    describe('by selector', () => {
      let tokens: ReadonlyMap<Kind, string>;
      let chain: string;
      beforeAll(async () => {
        const unscoped = await lab.token('unscoped');
        const others = labKinds.filter((kind) => kind !== 'unscoped').map(async (kind) => [kind, await lab.token(kind)] as const);
        tokens = new Map<Kind, string>([['unscoped', unscoped], ...(await Promise.all(others)), ['rescoped', await rescope(unscoped)]]);
        chain = (await keystonesWords(unscoped)).audit_ids[0] ?? '';
      });
      const verdicts = async () => {
        const pairs = [...tokens].map(async ([kind, token]) => [kind, await verdict(sidecar.stranger, token)] as const);
        return Object.fromEntries(await Promise.all(pairs));
      };
      const ofAlice: readonly Kind[] = [
        'unscoped',
        'project',
        'domain',
        'system',
        'trust',
        'trust_impersonating',
        'application_credential',
        'rescoped',
      ];
      const onWeb: readonly Kind[] = ['project', 'trust', 'trust_impersonating', 'application_credential', 'rescoped'];
      type Row = readonly [string, (lab: Lab) => SelectorFields, readonly Kind[]];
      const broad: readonly Row[] = [
        ['a user, also as the giver of trusts', ({ seed }) => ({ userId: seed.users.alice.id }), ofAlice],
        ['a user, also as the holder of trusts', ({ seed }) => ({ userId: seed.users.bob.id }), ['trust', 'trust_impersonating']],
        ['a project', ({ seed }) => ({ projectId: seed.projects.web }), onWeb],
        ['a user on a project', ({ seed }) => ({ userId: seed.users.alice.id, projectId: seed.projects.web }), onWeb],
        // The holder's domain is not told under impersonation: asked again, and Keystone says that it lives.
        [
          'a domain, of users and of scopes',
          ({ seed }) => ({ domainId: seed.domains.acme }),
          ['unscoped', 'project', 'domain', 'system', 'trust', 'application_credential', 'dave', 'rescoped'],
        ],
        ['everything', () => ({ everything: true }), kinds],
      ];
      test.each(broad)('%s: the right ones are dead at the next call, the others live', async (_what, selector, dead) => {
        expect(new Set(Object.values(await verdicts()))).toEqual(new Set(['active']));
        await sidecar.client.revoke({ selector: selector(lab) });
        expect(await verdicts()).toEqual(Object.fromEntries(kinds.map((kind) => [kind, dead.includes(kind) ? 'REVOKED' : 'active'])));
      });

      test('narrow ones, one after another: each kills its own and no other', async () => {
        const narrow: readonly Row[] = [
          ['a user on a project where it has nothing', ({ seed }) => ({ userId: seed.users.alice.id, projectId: seed.projects.db }), []],
          ['an audit id', () => ({ auditId: chain }), ['unscoped']],
          ['an audit chain', () => ({ auditChainId: chain }), ['rescoped']],
          ['a trust', ({ seed }) => ({ trustId: seed.trusts.plain }), ['trust']],
          [
            'an application credential',
            ({ seed }) => ({ applicationCredentialId: seed.applicationCredentials.plain.id }),
            ['application_credential'],
          ],
          ['a role', ({ seed }) => ({ roleId: seed.roles.auditor }), ['project']],
          ['a kind of scope', () => ({ scopeKind: 'system' }), ['system']],
          ['the domain of a scope', ({ seed }) => ({ scopeDomainId: seed.domains.acme }), ['domain']],
          ['the domain of projects', ({ seed }) => ({ projectDomainId: seed.domains.acme }), ['trust_impersonating', 'dave']],
        ];
        expect(new Set(Object.values(await verdicts()))).toEqual(new Set(['active']));
        const dead: Kind[] = [];
        for (const [what, selector, more] of narrow) {
          await sidecar.client.revoke({ selector: selector(lab) });
          dead.push(...more);
          const wanted = kinds.map((kind) => [kind, dead.includes(kind) ? 'REVOKED' : 'active']);
          expect(await verdicts(), what).toEqual(Object.fromEntries(wanted));
        }
      });

      test('a user, before any of its tokens was seen here, and after a restart', async () => {
        await sidecar.client.revoke({ selector: { userId: lab.seed.users.dave.id } });
        await sidecar.restart();
        const found = await verdicts();
        expect(Object.entries(found).filter(([, word]) => word === 'REVOKED')).toEqual([['dave', 'REVOKED']]);
        await afterCutOff(tokens.get('dave') ?? '');
        expect(await verdict(sidecar.stranger, await lab.token('dave'))).toBe('active');
      });
    });
  });

  test('the word about Keystone while it cannot be had is that there is none', async () => {
    lab.proxy.misbehave(() => ({ kind: 'cut' }));
    const error = await noAnswer(sidecar.stranger.validate(await lab.token('project')));
    lab.proxy.behave();
    expect(error).toMatchObject({ code: 'UNAVAILABLE', reason: 'KEYSTONE_UNREACHABLE' });
  });
});

/** A token whose bare base64url has `rest` characters beyond whole groups of four: two leave the most spellings. */
async function tokenOfLength(lab: Lab, rest: number): Promise<string> {
  const tokens = await Promise.all((['unscoped', 'project', 'domain', 'trust'] as const).map((kind) => lab.token(kind)));
  const lengths = tokens.map((token) => token.replace(/=+$/, '').length);
  const found = tokens.find((_, index) => (lengths[index] ?? 0) % 4 === rest);
  if (found === undefined) throw new Error(`tokens have the lengths ${lengths.join(', ')}`);
  return found;
}

interface KeystonesReference {
  readonly id: string;
  readonly name: string;
}

interface KeystonesToken {
  readonly user: KeystonesReference & { readonly domain: KeystonesReference; readonly password_expires_at: string | null };
  readonly methods: readonly string[];
  readonly audit_ids: readonly string[];
  readonly issued_at: string;
  readonly expires_at: string;
  readonly project?: KeystonesReference & { readonly domain: KeystonesReference };
  readonly is_domain?: boolean;
  readonly domain?: KeystonesReference;
  readonly system?: { readonly all: boolean };
  readonly roles?: readonly KeystonesReference[];
  readonly 'OS-TRUST:trust'?: {
    readonly id: string;
    readonly impersonation: boolean;
    readonly trustor_user: { readonly id: string };
    readonly trustee_user: { readonly id: string };
  };
  readonly application_credential?: KeystonesReference & { readonly restricted: boolean };
}

/** The API's facts, made from Keystone's body by its documentation and not by our reader. */
function expectedFacts(words: KeystonesToken): Token {
  const { user, project, domain, system, roles = [], 'OS-TRUST:trust': trust, application_credential: credential } = words;
  const reference = ({ id, name }: KeystonesReference) => ({ id, name });
  const scopes = [
    project && {
      kind: 'project' as const,
      project: { ...reference(project), domain: reference(project.domain), isDomain: words.is_domain ?? false },
    },
    domain && { kind: 'domain' as const, domain: reference(domain) },
    system && { kind: 'system' as const },
  ];
  expect(user.password_expires_at).toBeNull();
  return {
    issuer: 'central',
    format: 'fernet',
    issuedAtMs: Date.parse(words.issued_at),
    expiresAtMs: Date.parse(words.expires_at),
    user: { ...reference(user), domain: reference(user.domain) },
    scope: scopes.find((scope) => scope !== undefined) ?? { kind: 'unscoped' },
    roles: roles.map(reference),
    methods: words.methods,
    auditIds: words.audit_ids,
    audiences: [],
    scopes: [],
    ...(trust && {
      trust: {
        id: trust.id,
        trustorUserId: trust.trustor_user.id,
        trusteeUserId: trust.trustee_user.id,
        impersonation: trust.impersonation,
      },
    }),
    ...(credential && { applicationCredential: { ...reference(credential), restricted: credential.restricted } }),
    isAdminProject: true,
  };
}
