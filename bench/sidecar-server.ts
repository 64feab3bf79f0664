// A whole sidecar under measurement: one issuer of signed tokens with its keys in a file, a journal in memory.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { secretFile } from '../src/config/secrets.js';
import { createSidecar } from '../src/sidecar.js';
import { benchConfig } from './bench-config.js';
import { serve } from './children.js';

const dir = mkdtempSync(join(tmpdir(), 'sidegate-bench-'));
process.on('exit', () => rmSync(dir, { recursive: true, force: true }));
const { privateKey, publicKey } = await generateKeyPair('ES256');
const keys = join(dir, 'keys.json');
writeFileSync(keys, JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'k', alg: 'ES256', use: 'sig' }] }));
const now = Math.floor(Date.now() / 1000);
const token = await new SignJWT({ client_id: 'shop', scope: 'read write', roles: ['member', 'reader'], sid: 'session' })
  .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: 'k' })
  .setIssuer('https://bench.test')
  .setSubject('alice')
  .setAudience('https://api.test')
  .setJti('one')
  .setIssuedAt(now)
  .setExpirationTime(now + 3600)
  .sign(privateKey);

const config = benchConfig(secretFile(keys));
const running = await createSidecar({ config, destination: { write: () => undefined } }).start(new AbortController().signal);
serve({ address: running.tcp, token });
