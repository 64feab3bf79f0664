// The configurations that deploy/ holds: each is one that `serve` takes without a word.
import { describe, expect, test } from 'vitest';
import { configIn, documentsOf, judged, said, textOf } from './manifests.ts';

const inConfigMap = (path: string): string =>
  said(
    documentsOf(path).find(({ kind, metadata }) => said(kind) === 'ConfigMap' && said(metadata?.['name']) === 'sidegate')?.['data']?.[
      'sidegate.yaml'
    ],
  );

// A tier is shared, and the sidecars are no fleet; memcached on other hosts without TLS: what either leaves open is on the page.
const alone = ['fleet.engine'];
const clear = [...alone, 'caching.shared.servers'];

const all: readonly (readonly [string, string, readonly string[]])[] = [
  ['compose', textOf('deploy/compose/sidegate.yaml'), alone],
  ['systemd', textOf('deploy/systemd/sidegate.yaml'), clear],
  ['kubernetes/sidecar', inConfigMap('deploy/kubernetes/sidecar.yaml'), []],
  ['kubernetes/daemonset', inConfigMap('deploy/kubernetes/daemonset.yaml'), []],
  ['kubernetes/region', textOf('deploy/kubernetes/region/sidegate.yaml'), clear],
];

describe.each(all)('the configuration of %s', (_name, text, doubted) => {
  test('is one that serve takes, and doubts where the page says so', () => {
    const found = judged(text);
    expect(found.config.issuers.map(({ kind }) => kind)).toEqual(['keystone']);
    expect(found.doubted).toEqual(doubted);
  });

  test('keeps its journal, has keys that a neighbour can have too, and Keystone over TLS', () => {
    const config = configIn(text);
    expect(config.journal.dir).toBe('/var/lib/sidegate/journal');
    expect(config.deploymentKeyDir).toMatch(/^\/(run\/secrets|etc\/sidegate)\//);
    const [issuer] = config.issuers;
    expect(issuer && 'url' in issuer ? issuer.url : '').toMatch(/^https:/);
  });

  test('hears of what Keystone lists, and what is beside that for the taking are settings too', () => {
    const newsOf = (config: ReturnType<typeof configIn>) => config.issuers.map((issuer) => 'news' in issuer && issuer.news);
    expect(newsOf(configIn(text))).toMatchObject([{ bus: undefined, poll: { everyMs: 2000 } }]);
    const taken = text.replaceAll(/# (bus|keys|fleet): \{/g, '$1: {');
    expect(newsOf(configIn(taken))).toMatchObject([{ bus: { exchange: 'keystone' }, poll: { everyMs: 2000 } }]);
    expect([configIn(text).fleet, configIn(taken).fleet]).toMatchObject([{ kind: 'none' }, { kind: 'rabbitmq', stream: 'sidegate' }]);
    expect(judged(taken).doubted).not.toContain('fleet.engine');
    expect(configIn(taken).issuers).toMatchObject([{ keys: { fernetDir: expect.stringMatching(/fernet-keys$/) } }]);
  });

  test('a name that is no setting would have been found', () => {
    expect(() => configIn(text.replace('max_token_life', 'max_token_live'))).toThrow('max_token_life');
  });

  test('a file that is not there would have been found', () => {
    expect(() => configIn(text.replace(/\S*keystone-ca.pem"?/, '/nowhere/keystone-ca.pem'))).toThrow('ca_file');
  });
});
