// Signing certificates over time: when their files change, cannot be read, or hang, and when one of them ends.

import { describe, expect, it } from 'vitest';
import { SidecarError } from '../../src/core/errors.ts';
import { type Certified, cmsOf, createAuthority, pkiOf } from '../fakes/pki.ts';
import { bodyOf, captureMs, createPkiStage, reasonOf, turn, until, untilThere, wordOf } from './pki-stage.ts';

const hourMs = 3_600_000;
const tokenBy = (signer: Certified): string => pkiOf(cmsOf(bodyOf(), signer));
/** By somebody else, with the name of one that is known. */
const forgedAs = (signer: Certified): string => pkiOf(cmsOf(bodyOf(), createAuthority(), { namedAs: signer.namedAs }));
const gone = new SidecarError('UNAVAILABLE', 'the file cannot be read: there is none', { reason: 'SECRET_UNREADABLE' });

describe('when the files change', () => {
  it('a token by the new certificate is good at once, without waiting for a look', async () => {
    const authority = createAuthority();
    const [first, second] = [authority.issue(), authority.issue()];
    const stage = createPkiStage([first], authority);
    expect(reasonOf(await stage.read(tokenBy(second)))).toBe('BAD_SIGNATURE');
    stage.signing.write(first.pem + second.pem);
    expect(wordOf(await stage.read(tokenBy(second)))).toBe('facts');
    stage.signing.write(second.pem);
    expect(reasonOf(await stage.read(tokenBy(first)))).toBe('BAD_SIGNATURE');
  });

  it('S8 a certificate that leaves is told once, by the hash of its key', async () => {
    const authority = createAuthority();
    const [first, second, third] = [authority.issue(), authority.issue(), authority.issue()];
    const stage = createPkiStage([first, second], authority);
    const running = stage.run();
    await until(stage, () => stage.reader.health().reachable);
    stage.signing.write(second.pem + third.pem);
    await until(stage, () => running.left.length > 0);
    const { reads } = stage.signing;
    await until(stage, () => stage.signing.reads > reads + 3);
    stage.signing.write(third.pem);
    await until(stage, () => running.left.length > 1);
    await running.end();

    expect(running.left).toEqual([first.keyId, second.keyId]);
    expect(stage.telemetry.lines.at(-1)).toMatchObject({ message: 'the signing certificates have changed', fields: { left: 1, keys: 1 } });
  });

  it('S8 it is told again where the journal failed', async () => {
    const authority = createAuthority();
    const [first, second] = [authority.issue(), authority.issue()];
    const stage = createPkiStage([first], authority);
    const running = stage.run();
    await until(stage, () => stage.reader.health().reachable);
    running.fails();
    stage.signing.write(second.pem);
    const failures = (): number => stage.telemetry.lines.filter(({ level }) => level === 'error').length;
    await until(stage, () => failures() > 1);
    expect(running.left).toEqual([]);
    running.works();
    await until(stage, () => running.left.length > 0);
    await running.end();

    expect(running.left).toEqual([first.keyId]);
  });

  it('S8 one that is renewed with its key is told too: tokens name the certificate', async () => {
    const authority = createAuthority();
    const first = authority.issue();
    const renewed = authority.issue({ key: first.privateKey });
    const stage = createPkiStage([first], authority);
    const running = stage.run();
    await until(stage, () => stage.reader.health().reachable);
    stage.signing.write(renewed.pem);
    await until(stage, () => running.left.length > 0);
    await running.end();

    expect(renewed.keyId).toBe(first.keyId);
    expect(running.left).toEqual([first.keyId]);
    expect(reasonOf(await stage.read(tokenBy(first)))).toBe('BAD_SIGNATURE');
    expect(wordOf(await stage.read(tokenBy(renewed)))).toBe('facts');
  });

  it('S8 one that ends while it stands in its file, or whose CA is replaced, has left', async () => {
    const authority = createAuthority({ common: 'old CA' });
    const endsAtMs = Date.UTC(2026, 10, 22);
    const [ends, stays] = [authority.issue({ notAfterMs: endsAtMs }), authority.issue()];
    const stage = createPkiStage([ends, stays], authority);
    const running = stage.run();
    await until(stage, () => stage.reader.health().reachable);
    expect(stage.reader.health().keyCount).toBe(2);
    stage.clock.stepWall(endsAtMs - stage.clock.nowMs());
    await until(stage, () => running.left.length > 0);
    expect(running.left).toEqual([ends.keyId]);
    stage.ca.write(createAuthority({ common: 'new CA' }).pem);
    await until(stage, () => running.left.length > 1);
    await running.end();

    expect(running.left).toEqual([ends.keyId, stays.keyId]);
    expect(stage.reader.health()).toMatchObject({ reachable: true, keyCount: 0 });
  });

  it.each<[string, string | Error]>([
    ['is gone', gone],
    ['holds no certificate', 'not a certificate'],
    ['is written halfway', createAuthority().pem.slice(0, 200)],
    ['holds another one, and a half', `${createAuthority().pem}${createAuthority().pem.slice(0, 200)}`],
    ['holds a certificate that is broken', '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n'],
    ['holds 17 certificates', createAuthority().pem.repeat(17)],
  ])('and one of them %s, what was there goes on, and a wrong signature may be the fault of that', async (_what, content) => {
    const authority = createAuthority();
    const signing = authority.issue();
    const stage = createPkiStage([signing], authority);
    const running = stage.run();
    await until(stage, () => stage.reader.health().reachable);
    for (const file of [stage.signing, stage.ca]) {
      const before = await file.read();
      file.write(content);
      await until(stage, () => !stage.reader.health().reachable);

      expect(wordOf(await stage.read(tokenBy(signing)))).toBe('facts');
      expect(wordOf(await stage.read(forgedAs(signing)))).toBe('BAD_SIGNATURE by old keys');
      expect(stage.reader.health()).toMatchObject({ reachable: false, keyCount: 1, problem: expect.any(String) });
      file.write(before);
      expect(wordOf(await stage.read(forgedAs(signing)))).toBe('BAD_SIGNATURE');
    }
    expect(stage.reader.health()).not.toHaveProperty('problem');
    expect(running.left).toEqual([]);
    await running.end();
    expect(stage.telemetry.lines.filter(({ level }) => level === 'warn')).toHaveLength(2);
  });

  it('and they cannot be read, one of them that ends has ended all the same', async () => {
    const authority = createAuthority();
    const ends = authority.issue({ notAfterMs: captureMs + hourMs });
    const stage = createPkiStage([ends], authority);
    const running = stage.run();
    expect(wordOf(await stage.read(tokenBy(ends)))).toBe('facts');
    stage.signing.write(gone);
    await until(stage, () => !stage.reader.health().reachable);
    expect(wordOf(await stage.read(tokenBy(ends)))).toBe('facts');
    stage.clock.stepWall(hourMs + 1);

    // Not even by what was judged before.
    expect(await stage.reader.glance(tokenBy(ends))).toBeUndefined();
    expect(wordOf(await stage.read(tokenBy(ends)))).toBe('BAD_SIGNATURE by old keys');
    await until(stage, () => running.left.length > 0);
    expect(running.left).toEqual([ends.keyId]);
    // And where the clock is set back, so is that.
    stage.clock.stepWall(-hourMs - 1000);
    expect(wordOf(await stage.read(tokenBy(ends)))).toBe('facts');
    await running.end();
  });

  it('and a disk that hangs is waited for a second, once', async () => {
    const authority = createAuthority();
    const signing = authority.issue();
    const stage = createPkiStage([signing], authority);
    await stage.read(tokenBy(signing));
    stage.ca.hang();
    const asked = stage.read(forgedAs(signing));
    await untilThere(() => stage.clock.waiting() > 0);
    await stage.clock.advance(1000);

    expect(wordOf(await asked)).toBe('BAD_SIGNATURE by old keys');
    expect(stage.reader.health()).toMatchObject({ reachable: false, problem: 'their files do not answer' });
    const reads = stage.ca.reads;
    // Nothing moves the clock: none of these waits.
    expect(wordOf(await stage.read(tokenBy(signing)))).toBe('facts');
    expect(wordOf(await stage.read(forgedAs(signing)))).toBe('BAD_SIGNATURE by old keys');
    expect(stage.ca.reads).toBe(reads);
    stage.ca.write(authority.pem);
    // Until the reading that hung has come to its end.
    while (wordOf(await stage.read(forgedAs(signing))) !== 'BAD_SIGNATURE') await turn();
    expect(stage.reader.health()).toMatchObject({ reachable: true });
  });

  it('and a look that began before the question is not believed about it', async () => {
    const authority = createAuthority();
    const [first, second] = [authority.issue(), authority.issue()];
    const stage = createPkiStage([first], authority);
    await stage.read(tokenBy(first));
    // The look of the first call has read the signing certificates and waits for the CA; then they change, and somebody asks.
    stage.ca.hang();
    const { reads } = stage.ca;
    const early = stage.read(tokenBy(first));
    await untilThere(() => stage.ca.reads > reads);
    stage.signing.write(second.pem);
    const late = stage.read(tokenBy(second));
    // So that it finds the look of the first call under way.
    for (let turns = 0; turns < 50; turns += 1) await turn();
    stage.ca.write(authority.pem);

    expect([wordOf(await early), wordOf(await late)]).toEqual(['facts', 'facts']);
  });

  it('and never could be read, there is no answer, and it says why', async () => {
    const authority = createAuthority();
    const stage = createPkiStage('nothing', authority);
    await expect(stage.read(tokenBy(authority.issue()))).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      reason: 'KEYS_UNAVAILABLE',
      retryAfterMs: 1000,
      message: expect.stringContaining('The file of signing certificates holds none'),
    });
    // What is no token needs no certificate.
    expect(wordOf(await stage.read('MIIgarbage'))).toBe('MALFORMED');
  });
});
