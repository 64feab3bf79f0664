// What is in force is printed with where it came from, and without secrets.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are what is written in a configuration

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { loadConfig } from '../../src/config/load.ts';
import { printConfig } from '../../src/config/print.ts';

const dir = mkdtempSync(join(tmpdir(), 'sidegate-print-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function print(text: string): string {
  const loaded = loadConfig({ text, env: { RING: '64' }, baseDir: dir, purpose: 'dev' });
  return loaded.ok ? printConfig(loaded, 's.yaml') : '';
}

/** Without the spaces that align. */
const lines = (text: string): readonly string[] =>
  print(text)
    .split('\n')
    .map((line) => line.replace(/ +# /, ' # '));

describe('what is in force', () => {
  it('is printed with its origin: default, line or environment', () => {
    const printed = lines('name: a\n\nwatch:\n  ring: ${RING}\nlisten: { socket: null }');
    expect(printed).toContain('name: a # s.yaml:1');
    expect(printed).toContain('  ring: 64 # environment RING');
    expect(printed).toContain('  max_watchers: 1024 # default');
    expect(printed).toContain('  socket: null # s.yaml:5');
    expect(printed).toContain('  tcp: 127.0.0.1:8471 # default');
  });

  it('shows of a secret only where it is', () => {
    writeFileSync(join(dir, 'secret'), 'hunter2');
    const issuer =
      '  - { name: p, kind: introspection, url: "https://p.example", auth: { client_secret_post: { client_id: c, secret_file: secret } }, max_token_life: 1h }';
    const printed = lines(`issuers:\n${issuer}`);
    expect(printed).toContain(`        secret_file: <from file ${join(dir, 'secret')}> # s.yaml:2`);
    expect(printed).toContain('  - name: p # s.yaml:2');
    expect(printed.join('\n')).not.toContain('hunter2');
  });

  it('is YAML, and in it every default', () => {
    expect(parse(print(''))).toMatchObject({ listen: { socket: { mode: '0660' } }, limits: { token_size: '64KiB' }, issuers: [] });
  });
});
