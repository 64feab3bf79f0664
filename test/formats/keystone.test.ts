// Keystone's tokens with keys at hand and without, over HTTP, a real upstream and real directories.

import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { canonical } from '../../src/core/raw.ts';
import { tokenFormatConformance } from '../conformance/token-format.ts';
import { newFernetKey, newNodeKey, signJws } from '../fakes/keystone-keys.ts';
import { createKeyedKeystone, type KeyedKeystone, type KeyedOptions, spellingsOf, until } from './keyed-keystone.ts';

let keystone: KeyedKeystone;
const begin = async (options?: KeyedOptions): Promise<KeyedKeystone> => {
  keystone = await createKeyedKeystone(options);
  return keystone;
};
afterEach(() => keystone?.close());

const inactive = (reason: string, more: object = {}) => ({ kind: 'inactive', reason, ...more });
const tampered = (raw: string, at = 40): string => {
  const bytes = Buffer.from(raw, 'base64url');
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  return bytes.toString('base64url');
};
const wronglySigned = (raw: string): string => {
  const [header, payload, signature = ''] = raw.split('.');
  return `${header}.${payload}.${tampered(signature, 5)}`;
};

for (const provider of ['fernet', 'jws', 'uuid'] as const) {
  for (const keys of [[], ['fernet', 'jws']] as const) {
    tokenFormatConformance(`the Keystone format, ${provider} ${keys.length === 0 ? 'without keys' : 'with keys'}`, async () => {
      const subject = await createKeyedKeystone({ provider, keys });
      const userId = 'a'.repeat(32);
      const valid = subject.issue({ userId });
      const hour = 3_600_000;
      return {
        format: subject.format,
        valid,
        expected: { issuer: 'central', format: provider === 'jws' ? 'keystone-jws' : provider, user: { id: userId } } as never,
        garbage: [
          subject.issue({ stranger: true }),
          subject.issue({ stranger: true, key: newFernetKey(), node: newNodeKey() }),
          subject.issue({ issuedAtMs: subject.clock.nowMs() - 2 * hour, expiresAtMs: subject.clock.nowMs() - hour, stranger: true }),
          'x',
          'gAAAAA',
          `gAAAAA${'A'.repeat(400)}`,
          signJws({ ...newNodeKey(), algorithm: 'ES256' }, { openstack_methods: [] }, { alg: 'none' }),
        ],
        down: () => subject.authority.stop(),
        hang: async () => subject.authority.script(() => ({ kind: 'hang' })),
        html: async (status) => subject.authority.script(() => ({ status, body: '<html>no</html>' })),
        close: () => subject.close(),
      };
    });
  }
}

describe('the Keystone format without keys', () => {
  it('has no glance, no key set, does nothing in the background, and is as well as its authority', async () => {
    const { format, logins, upstream } = await begin({ keys: [] });

    expect([format.name, format.glance, format.keySets?.()]).toEqual(['keystone', undefined, []]);
    await format.run?.(AbortSignal.timeout(20_000), async () => undefined);
    expect(logins()).toBe(0);
    expect(format.health()).toEqual(upstream.health());
  });

  it.each([
    ['fernet', 'fernet'],
    ['jws', 'keystone-jws'],
    ['uuid', 'uuid'],
  ] as const)('calls a token of provider %s %s, as with keys', async (provider, name) => {
    const formats: unknown[] = [];
    for (const keys of [[], ['fernet', 'jws']] as const) {
      const subject = await begin({ keys, provider });
      const reading = await subject.read(subject.issue());
      formats.push(reading.kind === 'facts' && reading.facts.token.format);
      if (keys.length === 0) await subject.close();
    }
    expect(formats).toEqual([name, name]);
  });

  it('calls PKI tokens pki, and whatever has no shape of its own opaque', async () => {
    const subject = await begin({ keys: [] });
    const { body } = { body: subject.issue() };
    subject.answer((token) => (token === body ? undefined : { status: 200, headers: { 'x-subject-token': token }, body: bodyOfAnything }));
    const formatOf = async (raw: string) => {
      const reading = await subject.read(raw);
      return reading.kind === 'facts' ? reading.facts.token.format : reading.reason;
    };

    expect(await Promise.all(['MIIabc', 'PKIZ_abc', 'whatever', 'a.b.c'].map(formatOf))).toEqual(['pki', 'pki', 'opaque', 'opaque']);
    expect(await formatOf('white space')).toBe('MALFORMED');
  });
});

describe('the Keystone format with keys', () => {
  it.each(['fernet', 'jws'] as const)('tells at a glance who, where and how long, and asks nobody: %s', async (provider) => {
    const subject = await begin({ provider });
    const [issuedAtMs, userId, projectId] = [subject.clock.nowMs() - 60_000, 'a'.repeat(32), 'b'.repeat(32)];
    const raw = subject.issue({ issuedAtMs, expiresAtMs: issuedAtMs + 900_000, userId, projectId, auditIds: ['qNUTIJntTzO1-XUk5STybw'] });

    expect(await subject.glance(raw)).toMatchObject({
      kind: 'part',
      identity: 'qNUTIJntTzO1-XUk5STybw',
      issuedAtMs,
      expiresAtMs: issuedAtMs + 900_000,
      attributes: expect.arrayContaining([
        { dimension: 'user', value: userId },
        { dimension: 'project', value: projectId },
        { dimension: 'role', value: undefined },
      ]),
    });
    expect([subject.asked, subject.logins()]).toEqual([[], 0]);
  });

  it.each(['fernet', 'jws'] as const)('answers an ended token by itself, to the millisecond, and otherwise asks: %s', async (provider) => {
    const subject = await begin({ provider });
    const expiresAtMs = Math.floor(subject.clock.nowMs() / 1000) * 1000 + 5_000;
    const raw = subject.issue({ expiresAtMs });
    await subject.clock.advance(expiresAtMs - subject.clock.nowMs() - 1);
    expect((await subject.glance(raw))?.kind).toBe('part');
    expect((await subject.read(raw)).kind).toBe('facts');
    const before = subject.asked.length;
    await subject.clock.advance(1);

    expect(await subject.glance(raw)).toEqual(inactive('EXPIRED'));
    expect(await subject.read(raw)).toEqual(inactive('EXPIRED'));
    expect(subject.asked).toHaveLength(before);
    // S16: in a long operation its end is not the last word.
    expect((await subject.glance(raw, { allowExpired: true }))?.kind).toBe('part');
    expect((await subject.read(raw, { allowExpired: true })).kind).toBe('facts');
    expect(subject.asked).toHaveLength(before + 1);
  });

  it('answers what is wrongly signed by itself, once Keystone has vouched for a token that the keys open', async () => {
    const subject = await begin();
    await subject.run();
    await subject.read(subject.issue({ issuedAtMs: subject.clock.nowMs() - 20_000 }));
    const before = [subject.asked.length, subject.logins()];
    const own = subject.upstream.own.held() ?? '';
    const issuedAtMs = subject.clock.nowMs() - 10_000;
    const strangers = [
      ...Array.from({ length: 50 }, () => subject.issue({ issuedAtMs, key: newFernetKey(), stranger: true })),
      ...[20, 40, 60, 100, Buffer.from(own, 'base64url').length - 1].map((at) => tampered(own, at)),
    ];

    for (const raw of strangers) expect(await subject.glance(raw)).toEqual(inactive('BAD_SIGNATURE', { byOldKeys: true }));
    expect([subject.asked.length, subject.logins()]).toEqual(before);
    expect(before).toEqual([1, 1]);
  });

  it('answers strings that are made up by itself: they say that they were made in the future', async () => {
    const subject = await begin();
    await subject.run();
    const madeUp = Array.from({ length: 50 }, (_, n) => {
      const bytes = Buffer.alloc(1 + 8 + 16 + 64 + 32, n + 1);
      bytes.writeUInt8(0x80, 0);
      bytes.writeBigUInt64BE(2n ** 33n + BigInt(n), 1);
      return bytes.toString('base64url');
    });

    for (const raw of madeUp) expect(await subject.glance(raw)).toEqual(inactive('BAD_SIGNATURE', { byOldKeys: true }));
    expect(subject.asked).toEqual([]);
  });

  it('answers a JWS that no key could mend by itself, whatever keys there are', async () => {
    const subject = await begin({ provider: 'jws' });
    const claims = { openstack_methods: ['password'], sub: 'x', iat: 1, exp: 2, openstack_audit_ids: ['a'] };
    const one = (header: object) => subject.glance(signJws(newNodeKey(), claims, header));

    expect(await Promise.all([one({ alg: 'none' }), one({ alg: 'HS256' }), one({ alg: 'RS256' })])).toEqual(
      Array(3).fill(inactive('BAD_SIGNATURE')),
    );
    expect(await Promise.all([one({ typ: 'at+jwt' }), one({ crit: ['x'], x: 1 })])).toEqual(Array(2).fill(inactive('MALFORMED')));
    expect(subject.asked).toEqual([]);
  });

  it('does not ask about a JWS that says itself that it has ended, whoever has signed it', async () => {
    const subject = await begin({ provider: 'jws' });
    await subject.run();
    const issuedAtMs = subject.clock.nowMs() - 7_200_000;
    const raw = subject.issue({ issuedAtMs, expiresAtMs: issuedAtMs + 3_600_000, node: newNodeKey(), stranger: true });

    for (let n = 0; n < 20; n += 1) expect(await subject.glance(raw)).toEqual(inactive('BAD_SIGNATURE', { byOldKeys: true }));
  });

  it('S4 never takes a JWS for certainly wrong: another node may have signed it', async () => {
    const subject = await begin({ provider: 'jws' });
    await subject.run();
    const issuedAtMs = subject.clock.nowMs() - 10_000;
    const raw = subject.issue({ issuedAtMs, node: newNodeKey(), stranger: true });

    for (let n = 0; n < 8; n += 1) expect(await subject.glance(raw)).toBeUndefined();
    expect(await subject.glance(raw)).toEqual(inactive('BAD_SIGNATURE', { byOldKeys: true }));
    expect(await subject.glance(wronglySigned(subject.issue({ issuedAtMs })))).toEqual(inactive('BAD_SIGNATURE', { byOldKeys: true }));
  });

  it('S2 answers a JWS whose issue is in the future as not valid yet, where Keystone itself has no answer', async () => {
    const subject = await begin({ provider: 'jws' });
    const nowMs = Math.floor(subject.clock.nowMs() / 1000) * 1000;
    await subject.clock.advance(nowMs + 1_000 - subject.clock.nowMs());

    expect(await subject.glance(subject.issue({ issuedAtMs: nowMs + 4_000 }))).toEqual(inactive('NOT_YET_VALID', { byOldKeys: true }));
    expect((await subject.glance(subject.issue({ issuedAtMs: nowMs + 3_000 })))?.kind).toBe('part');
  });

  it('S2 is told of one token whatever its spelling, with keys as without', async () => {
    const subject = await begin();
    const raw = subject.issue({ unscoped: true });
    const spellings = spellingsOf(raw);
    expect(spellings.length).toBe(64);
    const glances = await Promise.all(spellings.map((one) => subject.glance(canonical(one))));

    expect(new Set(spellings.map(canonical)).size).toBe(1);
    expect(new Set(glances.map((glance) => JSON.stringify(glance))).size).toBe(1);
    expect(glances[0]?.kind).toBe('part');
  });

  it('has no answer where Keystone, or a cache before it, tells of another token than was asked about', async () => {
    const subject = await begin();
    const [one, other] = [subject.issue(), subject.issue()];
    const told = (await subject.read(other)) as { readonly facts?: { readonly token: { readonly claimsJson?: string } } };
    subject.answer(() => ({ status: 200, headers: { 'x-subject-token': one }, body: `{"token": ${told.facts?.token.claimsJson}}` }));

    await expect(subject.read(one)).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'BAD_ANSWER' });
    expect((await subject.read(other).catch((error: unknown) => error)) as Error).toMatchObject({ reason: 'BAD_ANSWER' });
  });

  it('S8 names the key of a JWS in its facts and at a glance, and tells when it leaves; a Fernet key has no name', async () => {
    const subject = await begin({ provider: 'jws' });
    const second = newNodeKey();
    subject.folders.jws.put('second.pem', second.pem);
    await subject.run();
    const raw = subject.issue({ node: second });
    const reading = await subject.read(raw);
    const keyId = reading.kind === 'facts' ? reading.facts.keyId : undefined;
    const glance = await subject.glance(raw);
    expect(keyId).toMatch(/^[\w-]{43}$/);
    expect(glance?.kind === 'part' && glance.attributes).toContainEqual({ dimension: 'signing_key', value: keyId });

    subject.folders.jws.take('second.pem');
    subject.folders.fernet.take('1');
    await subject.secondsUntil(() => subject.left.length > 0);
    expect(subject.left).toEqual([keyId]);
    const fernet = await subject.read(subject.issue({ provider: 'fernet', key: subject.primary() }));
    expect(fernet.kind === 'facts' && 'keyId' in fernet.facts).toBe(false);
  });

  it.each([
    ['jws', ['fernet', 'jws'] as const, false],
    ['jws', ['fernet'] as const, true],
    ['jws', [] as const, true],
    ['fernet', [] as const, false],
  ] as const)(
    'S2 knows that a token of provider %s, with keys %j, has a signing key that it does not know: %s',
    async (provider, keys, isUnknown) => {
      const subject = await begin({ provider, keys });
      const reading = await subject.read(subject.issue());

      expect(reading.kind === 'facts' && reading.facts.unknown.includes('signing_key')).toBe(isUnknown);
    },
  );

  it('reads random strings without throwing, at a glance', async () => {
    const subject = await begin();
    await subject.run();
    const shaped = fc.oneof(
      fc.string(),
      fc.uint8Array({ maxLength: 300 }).map((bytes) => `gAAAAAB${Buffer.from(bytes).toString('base64url')}`),
      fc
        .jsonValue()
        .map(
          (value) =>
            `${Buffer.from('{"alg":"ES256"}').toString('base64url')}.${Buffer.from(`{"openstack_methods":${JSON.stringify(value)}}`).toString('base64url')}.${'A'.repeat(86)}`,
        ),
    );
    await fc.assert(
      fc.asyncProperty(shaped, async (raw) => {
        expect((await subject.glance(raw))?.kind).not.toBe('part');
      }),
      { numRuns: 300 },
    );
  });

  it('says nothing of its keys and tokens, wherever it says something', async () => {
    const subject = await begin();
    subject.folders.fernet.put('7', `${newFernetKey()}x`);
    await subject.run();
    const raw = subject.issue({ key: newFernetKey() });
    await subject.glance(raw);
    await subject.read(raw);
    await subject.clock.advance(3_000);

    const said = subject.telemetry.everything() + JSON.stringify(subject.format.keySets?.());
    expect(said).toContain('out of step');
    for (const secret of [subject.primary(), raw, subject.upstream.own.held() ?? 'x']) expect(said).not.toContain(secret);
    expect(said).not.toContain(Buffer.from(subject.primary(), 'base64url').toString('hex'));
  });
});

describe('keys and Keystone', () => {
  it('a rotation is followed before a token is called wrongly signed', async () => {
    const subject = await begin();
    await subject.run();
    subject.rotate();

    const before = subject.asked.length;
    expect((await subject.glance(subject.issue()))?.kind).toBe('part');
    subject.rotate();
    subject.rotate();
    expect((await subject.glance(subject.issue()))?.kind).toBe('part');
    expect(subject.asked).toHaveLength(before);
  });

  it('are held against a token of our own from the start on', async () => {
    const subject = await begin();
    expect(subject.keySet('fernet')).toMatchObject({ reachable: false });
    await subject.run();

    await until(() => subject.keySet('fernet')?.problem === undefined);
    expect(subject.keySet('fernet')).toMatchObject({ reachable: true, keyCount: 2, keySetDigest: expect.stringMatching(/^[0-9a-f]{6}$/) });
    expect(subject.keySet('jws')).toMatchObject({
      reachable: true,
      problem: 'no token of this Keystone has been read with these keys yet',
    });
    expect(subject.logins()).toBe(1);
  });

  it('are held against it as soon as Keystone can be reached', async () => {
    const subject = await begin();
    subject.answerLogins(() => ({ status: 503 }));
    const stopping = new AbortController();
    const running = subject.format.run?.(stopping.signal, async () => undefined);
    await subject.authority.received(1);
    // Until then everything is asked about that they do not open.
    for (let n = 0; n < 20; n += 1) expect(await subject.glance(subject.issue({ key: newFernetKey(), stranger: true }))).toBeUndefined();
    subject.answerLogins(undefined);
    await subject.secondsUntil(() => subject.upstream.own.held() !== undefined);
    const strangers = Array.from({ length: 9 }, () => subject.issue({ key: newFernetKey(), stranger: true }));
    const glances = await Promise.all(strangers.map((raw) => subject.glance(raw)));
    expect(glances.at(-1)).toEqual(inactive('BAD_SIGNATURE', { byOldKeys: true }));
    stopping.abort();
    await running;
  });

  it('of another Keystone are out of step at once: everything is asked about, and it is said', async () => {
    const subject = await begin();
    for (const name of ['0', '1']) subject.folders.fernet.put(name, newFernetKey());
    await subject.run();
    const [known, stranger] = [subject.issue(), subject.issue({ stranger: true })];

    await until(() => subject.keySet('fernet')?.problem?.includes('out of step') === true);
    expect(await Promise.all([subject.glance(known), subject.glance(stranger)])).toEqual([undefined, undefined]);
    expect([(await subject.read(known)).kind, (await subject.read(stranger)).kind]).toEqual(['facts', 'inactive']);
    expect(subject.keySet('fernet')?.reachable).toBe(false);
    expect(subject.telemetry.lines.filter(({ message }) => message.includes('out of step'))).toHaveLength(1);

    // What the keys did not open before, they open now: nothing else would show that.
    subject.mount();
    await subject.read(known);
    await subject.secondsUntil(() => subject.keySet('fernet')?.problem === undefined);
    expect((await subject.glance(known))?.kind).toBe('part');
    expect(subject.telemetry.lines.at(-1)?.message).toBe('the keys at hand are in step with Keystone again');
  });

  it('that have fallen behind kill no token: the first that shows it is asked about, and then all are', async () => {
    const subject = await begin();
    await subject.run();
    subject.rotate({ mounted: false });
    subject.rotate({ mounted: false });
    await subject.clock.advance(10_000);
    const tokens = Array.from({ length: 20 }, () => subject.issue());

    for (const raw of tokens) {
      expect(await subject.glance(raw)).toBeUndefined();
      expect((await subject.read(raw)).kind).toBe('facts');
    }
    expect(subject.keySet('fernet')?.problem).toContain('out of step');
    // Of all kinds, also what the old keys open, and what is as old as they are.
    const old = subject.issue({ key: newFernetKey(), issuedAtMs: subject.clock.nowMs() - 600_000, stranger: true });
    expect([await subject.glance(old), await subject.glance(subject.upstream.own.held() ?? '')]).toEqual([undefined, undefined]);

    subject.mount();
    const young = subject.issue();
    await subject.read(young);
    expect(subject.keySet('fernet')?.problem).toBeUndefined();
    expect((await subject.glance(young))?.kind).toBe('part');
    await subject.read(subject.issue({ issuedAtMs: subject.clock.nowMs() - 600_000 }));
    expect(await subject.glance(old)).toEqual(inactive('BAD_SIGNATURE', { byOldKeys: true }));
  });

  it('that lack an older key than those that have shown themselves kill no token either', async () => {
    const subject = await begin();
    const older = newFernetKey();
    await subject.run();
    const tokens = Array.from({ length: 20 }, () => subject.issue({ key: older, issuedAtMs: subject.clock.nowMs() - 60_000 }));

    for (const raw of tokens) {
      expect(await subject.glance(raw)).toBeUndefined();
      expect((await subject.read(raw)).kind).toBe('facts');
    }
    expect(subject.keySet('fernet')?.problem).toContain('out of step');
  });

  it('that lack one in the middle are found out by a sample, and nobody is certain before', async () => {
    const subject = await begin();
    await subject.run();
    expect((await subject.read(subject.issue({ issuedAtMs: subject.clock.nowMs() - 120_000 }))).kind).toBe('facts');
    const raw = subject.issue({ key: newFernetKey(), issuedAtMs: subject.clock.nowMs() - 60_000 });
    expect(await subject.glance(raw)).toEqual(inactive('BAD_SIGNATURE', { byOldKeys: true }));
    await subject.clock.advance(30_000);

    expect(await subject.glance(raw)).toBeUndefined();
    await subject.read(raw);
    expect(await subject.glance(raw)).toBeUndefined();
    expect(subject.keySet('fernet')?.problem).toContain('out of step');
  });

  it('of which one node’s is missing kill none of its tokens, nor any that is older than another node’s', async () => {
    const subject = await begin({ provider: 'jws' });
    const other = newNodeKey();
    await subject.run();
    await subject.clock.advance(5_000);
    const raw = subject.issue({ node: other, issuedAtMs: subject.clock.nowMs() - 60_000 });

    expect(await subject.glance(raw)).toBeUndefined();
    expect((await subject.read(raw)).kind).toBe('facts');
    expect(subject.keySet('jws')?.problem).toContain('out of step');
    subject.folders.jws.put('other.pem', other.pem);
    await subject.read(subject.issue({ node: other }));
    expect((await subject.glance(raw))?.kind).toBe('part');
  });

  it('that cannot be read any more go on reading, and what they do not open is asked about', async () => {
    const subject = await begin();
    await subject.run();
    await subject.read(subject.issue({ issuedAtMs: subject.clock.nowMs() - 600_000 }));
    const good = subject.issue();
    const { renameSync } = await import('node:fs');
    renameSync(subject.folders.fernet.dir, `${subject.folders.fernet.dir}-away`);

    expect((await subject.glance(good))?.kind).toBe('part');
    const old = subject.issue({ key: newFernetKey(), issuedAtMs: subject.clock.nowMs() - 600_000, stranger: true });
    expect(await subject.glance(old)).toBeUndefined();
    expect(subject.keySet('fernet')).toMatchObject({ reachable: false, problem: 'its directory cannot be read (ENOENT)', keyCount: 2 });
    renameSync(`${subject.folders.fernet.dir}-away`, subject.folders.fernet.dir);
    expect(await subject.glance(old)).toEqual(inactive('BAD_SIGNATURE', { byOldKeys: true }));
  });

  it('that are not there at the start leave the format opaque, and it is said; they come later', async () => {
    const subject = await begin();
    for (const name of ['0', '1']) subject.folders.fernet.take(name);
    await subject.run();
    const raw = subject.issue();

    expect(await subject.glance(raw)).toBeUndefined();
    expect((await subject.read(raw)).kind).toBe('facts');
    expect(subject.keySet('fernet')).toEqual({ reachable: false, problem: 'there is no key in it: it is asked about every token' });
    expect(subject.telemetry.lines).toContainEqual(expect.objectContaining({ level: 'warn', message: 'keys cannot be read' }));
    subject.mount();
    await subject.secondsUntil(() => subject.keySet('fernet')?.problem === undefined);
    expect((await subject.glance(raw))?.kind).toBe('part');
  });

  it('a payload that is not known here is asked about, whoever has written it with the right key', async () => {
    const subject = await begin();
    await subject.run();
    const { encode } = await import('@msgpack/msgpack');
    const { sealFernet } = await import('../fakes/keystone-keys.ts');
    const raw = sealFernet(subject.primary(), encode([99, 'a payload of the next century']), subject.clock.nowMs() - 1_000);

    expect(await subject.glance(raw)).toBeUndefined();
    expect((await subject.read(raw)).kind).toBe('inactive');
    expect(subject.asked).toEqual([raw]);
  });
});

const bodyOfAnything = {
  token: {
    methods: ['password'],
    user: { id: 'u', name: 'u', domain: { id: 'd', name: 'd' } },
    audit_ids: ['a'],
    issued_at: '2026-11-21T09:00:00.000000Z',
    expires_at: '2026-11-21T11:00:00.000000Z',
  },
};
