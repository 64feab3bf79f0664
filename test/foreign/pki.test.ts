// PKI tokens that Debian's python3-keystoneclient signs, with certificates as `keystone-manage pki_setup` made them; and what it makes of
// those that we refuse.
import { execFile, spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { digestOf, hashIdsOf } from '../../src/core/raw.ts';
import { handleOf } from '../../src/service/tier/handles.ts';
import { createPkiStage, type PkiStage, reasonOf, vectors } from '../formats/pki-stage.ts';

const run = promisify(execFile);
const python = '/usr/bin/python3';
const skipped = process.env['SIDEGATE_SKIP_FOREIGN'];
const program = fileURLToPath(new URL('sign_pki.py', import.meta.url));

/** What keystoneclient makes of one body. */
interface Signed {
  readonly pki: string;
  readonly pkiz: string;
  readonly sha256: string;
  readonly md5: string;
  readonly pkiz_sha256: string;
  readonly pkiz_md5: string;
}

/** A CA and what it has signed, as files. */
interface Pki {
  readonly signing: string;
  readonly key: string;
  readonly ca: string;
}

/** As Keystone's own tool wrote it: CA and signing certificate have the same name, and a serial number that begins at 1. */
const configuration = `
[ ca ]
default_ca = CA_default
[ CA_default ]
new_certs_dir = $ENV::PKI_DIR
serial = $ENV::PKI_DIR/serial
database = $ENV::PKI_DIR/index.txt
default_days = 365
default_md = default
preserve = no
email_in_dn = no
policy = policy_anything
x509_extensions = usr_cert
unique_subject = no
[ policy_anything ]
countryName = optional
stateOrProvinceName = optional
localityName = optional
organizationName = optional
commonName = supplied
[ req ]
distinguished_name = any
string_mask = utf8only
x509_extensions = v3_ca
[ any ]
[ v3_ca ]
basicConstraints = CA:TRUE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always,issuer
[ usr_cert ]
basicConstraints = CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
`;
const subject = '/C=US/ST=Unset/L=Unset/O=Unset/CN=www.example.com';

let folder = '';
const openssl = (dir: string, ...args: string[]) => run('openssl', args, { env: { ...process.env, PKI_DIR: dir } });

/** What `pki_setup` ran. `dates`: of the signing certificate, as `openssl ca` takes them. */
async function pkiSetUp(name: string, key: readonly string[], dates: readonly string[] = []): Promise<Pki> {
  const dir = join(folder, name);
  const config = join(dir, 'openssl.conf');
  const files = { signing: join(dir, 'signing_cert.pem'), key: join(dir, 'signing_key.pem'), ca: join(dir, 'ca.pem') };
  const [caKey, request] = [join(dir, 'cakey.pem'), join(dir, 'req.pem')];
  await mkdir(dir);
  await writeFile(config, configuration);
  await writeFile(join(dir, 'serial'), '01');
  await writeFile(join(dir, 'index.txt'), '');
  await openssl(dir, 'genrsa', '-out', caKey, '2048');
  await openssl(
    dir,
    'req',
    '-new',
    '-x509',
    '-extensions',
    'v3_ca',
    '-key',
    caKey,
    '-out',
    files.ca,
    '-days',
    '3650',
    '-config',
    config,
    '-subj',
    subject,
  );
  await openssl(dir, ...key, '-out', files.key);
  await openssl(dir, 'req', '-key', files.key, '-new', '-out', request, '-config', config, '-subj', subject);
  const period = dates.length > 0 ? dates : ['-days', '3650'];
  const ca = ['ca', '-batch', '-out', files.signing, '-config', config, ...period, '-cert', files.ca, '-keyfile', caKey];
  await openssl(dir, ...ca, '-infiles', request);
  return files;
}

const rsaKey = ['genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'];
const ecKey = (curve: string): string[] => ['genpkey', '-algorithm', 'EC', '-pkeyopt', `ec_paramgen_curve:${curve}`];

/** What keystoneclient says. */
function ask<Answer>(question: object): Promise<readonly Answer[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(python, [program], { stdio: 'pipe', env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' } });
    const out: Buffer[] = [];
    const complaints: Buffer[] = [];
    child.stdout.on('data', (chunk) => out.push(chunk));
    child.stderr.on('data', (chunk) => complaints.push(chunk));
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve(JSON.parse(Buffer.concat(out).toString()));
      else reject(new Error(Buffer.concat(complaints).toString().slice(-2000)));
    });
    child.stdin.end(JSON.stringify(question));
  });
}

async function sign(files: Pki, bodies: readonly string[], digest = 'sha256'): Promise<readonly Signed[]> {
  return ask<Signed>({ ...files, sign: bodies.map((body) => [body, digest]) });
}

async function stageOf({ signing, ca }: Pki): Promise<PkiStage> {
  return createPkiStage(await readFile(signing, 'utf8'), await readFile(ca, 'utf8'), Date.now());
}

/** Whether each of `tokens` is one: for keystoneclient, and for us. */
async function verdicts(files: Pki, tokens: readonly string[]): Promise<readonly { theirs: boolean; ours: string }[]> {
  const stage = await stageOf(files);
  const theirs = await ask<string | null>({ ...files, verify: tokens });
  return Promise.all(tokens.map(async (token, at) => ({ theirs: theirs[at] !== null, ours: reasonOf(await stage.read(token)) })));
}

const unscoped = vectors.tokens.unscoped.signed_text;
const project = vectors.tokens.project.signed_text;

describe.skipIf(skipped)(`PKI tokens of python3-keystoneclient${skipped ? ` (skipped: ${skipped})` : ''}`, () => {
  let central: Pki;
  let other: Pki;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sidegate-pki-'));
    await run(python, ['-c', 'import keystoneclient.common.cms']).catch((cause: unknown) => {
      throw new Error('needs python3-keystoneclient of Debian; install it, or say why not in SIDEGATE_SKIP_FOREIGN', { cause });
    });
    [central, other] = await Promise.all([pkiSetUp('central', rsaKey), pkiSetUp('other', rsaKey)]);
  });
  afterAll(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  it.each([
    ['RSA', rsaKey, ['sha256', 'sha384', 'sha512']],
    ['P-256', ecKey('P-256'), ['sha256', 'sha512']],
    ['P-384', ecKey('P-384'), ['sha384']],
    ['P-521', ecKey('P-521'), ['sha512']],
  ])('signed with a key %s verify here, and say what was signed', async (kind, key, digests) => {
    const files = await pkiSetUp(`key-${kind}`, key);
    const stage = await stageOf(files);
    for (const digest of digests) {
      const signed = await sign(files, [unscoped, project], digest);
      for (const [at, body] of [unscoped, project].entries()) {
        const { token } = JSON.parse(body);
        for (const raw of [signed[at]?.pki, signed[at]?.pkiz]) {
          expect(await stage.read(raw ?? '')).toMatchObject({
            kind: 'facts',
            provenance: 'signature',
            facts: { identity: token.audit_ids[0], token: { format: 'pki', user: { id: token.user.id }, auditIds: token.audit_ids } },
          });
        }
      }
    }
  });

  it('have the hash ids that keystoneclient gives them, and a handle that is one of them', async () => {
    for (const signed of await sign(central, [unscoped, project])) {
      expect(hashIdsOf(signed.pki)).toEqual([signed.sha256, signed.md5]);
      expect(hashIdsOf(signed.pkiz)).toEqual([signed.pkiz_sha256, signed.pkiz_md5]);
      expect([handleOf(digestOf(signed.pki)), handleOf(digestOf(signed.pkiz))]).toEqual([signed.sha256, signed.pkiz_sha256]);
    }
  });

  it('signed with SHA-1 verify there, and not here', async () => {
    const [signed] = await sign(central, [unscoped], 'sha1');
    expect(await verdicts(central, [signed?.pki ?? '', signed?.pkiz ?? ''])).toEqual([
      { theirs: true, ours: 'BAD_SIGNATURE' },
      { theirs: true, ours: 'BAD_SIGNATURE' },
    ]);
  });

  it('by another signer, of the same name and serial number, verify neither there nor here', async () => {
    const [signed] = await sign(other, [unscoped]);
    expect(await verdicts(central, [signed?.pki ?? '', signed?.pkiz ?? ''])).toEqual([
      { theirs: false, ours: 'BAD_SIGNATURE' },
      { theirs: false, ours: 'BAD_SIGNATURE' },
    ]);
  });

  it.each([
    ['has expired', ['-startdate', '20200101000000Z', '-enddate', '20210101000000Z']],
    ['is not valid yet', ['-startdate', '20490101000000Z', '-enddate', '20491231000000Z']],
  ])('by a certificate that %s verify neither there nor here', async (what, dates) => {
    const files = await pkiSetUp(what.replaceAll(' ', '-'), rsaKey, dates);
    const [signed] = await sign(files, [unscoped]);
    expect(await verdicts(files, [signed?.pki ?? ''])).toEqual([{ theirs: false, ours: 'BAD_SIGNATURE' }]);
  });

  it('by a certificate that does not lead to the CA verify neither there nor here', async () => {
    const [signed] = await sign(other, [unscoped]);
    expect(await verdicts({ ...other, ca: central.ca }, [signed?.pki ?? ''])).toEqual([{ theirs: false, ours: 'BAD_SIGNATURE' }]);
  });

  it('with a byte changed verify nowhere; and none that we take is one that keystoneclient does not', async () => {
    const [signed] = await sign(central, [unscoped]);
    const whole = Buffer.from((signed?.pki ?? '').replaceAll('-', '/'), 'base64');
    // Content, signature, and what describes them: every region of it.
    const places = Array.from({ length: 40 }, (_, step) => Math.floor((step * whole.length) / 40));
    const tampered = places.map((at) => {
      const bytes = Buffer.from(whole);
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      return bytes.toString('base64').replaceAll('/', '-');
    });
    const said = await verdicts(central, [signed?.pki ?? '', ...tampered]);

    expect(said[0]).toEqual({ theirs: true, ours: 'facts' });
    expect(said.slice(1).filter(({ ours }) => ours === 'facts')).toEqual([]);
    // It decodes more than one spelling of most things, and looks at no more than it must.
    expect(said.filter(({ theirs, ours }) => ours === 'facts' && !theirs)).toEqual([]);
  });

  it('cut short verify nowhere', async () => {
    const [signed] = await sign(central, [project]);
    const cut = [signed?.pki ?? '', signed?.pkiz ?? ''].flatMap((raw) => [
      raw.slice(0, -1),
      raw.slice(0, raw.length / 2),
      raw.slice(0, 40),
    ]);
    for (const { theirs, ours } of await verdicts(central, cut)) expect([theirs, ours]).toEqual([false, 'MALFORMED']);
  });

  it('whose certificate has been renewed verify by the new one', async () => {
    const renewed = await pkiSetUp('renewed', rsaKey);
    const [before, after] = [await sign(central, [unscoped]), await sign(renewed, [unscoped])];
    const [signing, ca] = await Promise.all(
      (['signing', 'ca'] as const).map(async (file) => (await readFile(central[file], 'utf8')) + (await readFile(renewed[file], 'utf8'))),
    );
    const stage = createPkiStage(signing ?? '', ca ?? '', Date.now());
    for (const [signed] of [before, after]) expect(reasonOf(await stage.read(signed?.pkiz ?? ''))).toBe('facts');
  });
});
