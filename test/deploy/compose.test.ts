// The compose file: what it gives the two containers, and that the sidecar's configuration fits it.
import { describe, expect, test } from 'vitest';
import { parseDockerfile } from './dockerfile.ts';
import { configIn, documentsOf, each, filesOf, pairs, said, textOf } from './manifests.ts';

const [compose = {}] = documentsOf('deploy/compose.yaml');
const services = compose['services'] ?? {};
const sidegate = services['sidegate'] ?? {};
const memcached = services['memcached'] ?? {};
const config = configIn(textOf('deploy/compose/sidegate.yaml'));
const readme = textOf('deploy/README.md');

const mounts = each(sidegate['volumes']).map((it) => {
  const [source = '', target = '', mode = 'rw'] = String(it).split(':');
  return { source, target, mode };
});
const mountOf = (path: string) => mounts.find(({ target }) => `${path}/`.startsWith(`${target}/`));

describe('both containers', () => {
  test.each(pairs(services).map(([name]) => [name, services[name] ?? {}] as const))('%s can do no more than it must', (_name, service) => {
    expect(said(service['read_only'])).toBe('true');
    expect(each(service['cap_drop']).map(String)).toEqual(['ALL']);
    expect(each(service['security_opt']).map(String)).toEqual(['no-new-privileges:true']);
    expect(said(service['user'])).toMatch(/^[1-9]\d*:[1-9]\d*$/);
    expect(said(service['privileged'])).toBe('');
    expect(said(service['mem_limit'])).toMatch(/^\d+m$/);
    expect(said(service['image'])).toMatch(/^[a-z]+:\d+\.\d+\.\d+$/);
  });
});

describe('the sidecar', () => {
  test('is built from this project, at its version, as the user of its image', () => {
    const { version } = JSON.parse(textOf('package.json')) as { readonly version: string };
    expect(said(sidegate['image'])).toBe(`sidegate:${version}`);
    expect(said(sidegate['build']?.['context'])).toBe('..');
    const stages = parseDockerfile(textOf('Dockerfile'));
    expect(said(sidegate['user'])).toBe(stages.at(-1)?.instructions.find(({ word }) => word === 'USER')?.text);
  });

  test('is on the network of the host, where all that it listens on is loopback', () => {
    expect(said(sidegate['network_mode'])).toBe('host');
    expect(sidegate['ports']).toBeUndefined();
    const { tcp, operations, keystone } = config.listen;
    expect([tcp, operations, keystone?.address]).toEqual([
      { host: '127.0.0.1', port: 8471 },
      { host: '127.0.0.1', port: 8472 },
      { host: '127.0.0.1', port: 8473 },
    ]);
  });

  test('reads what is mounted read-only, and writes into volumes', () => {
    const reads = ['/etc/sidegate/sidegate.yaml', `${config.deploymentKeyDir}/k`, ...filesOf(config.issuers)];
    expect(reads.length).toBe(4);
    expect(reads.map((path) => mountOf(path)?.mode)).toEqual(reads.map(() => 'ro'));
    const writes = [config.listen.socket?.path ?? '', config.journal.dir ?? ''].map((path) => mountOf(path));
    expect(writes.map((it) => it?.mode)).toEqual(['rw', 'rw']);
    expect(writes.map((it) => it?.source)).toEqual(pairs(compose['volumes']).map(([name]) => name));
    expect(mounts.length).toBe(5);
  });

  test('its folders of the host are made in the steps of the page', () => {
    const made = mounts.map(({ source }) => source).filter((source) => source.startsWith('./') && !source.endsWith('.yaml'));
    expect(made).toEqual(['./compose/credentials', './compose/keys']);
    for (const source of made) expect(readme).toContain(source.replace('./', 'deploy/'));
    // Made in a checkout, they must not end up in the repository.
    const ignored = textOf('deploy/compose/.gitignore').split('\n');
    for (const source of made) expect(ignored).toContain(`${source.replace('./compose', '')}/`);
    for (const path of filesOf(config.issuers)) expect(readme).toContain(`deploy/compose/credentials/${path.split('/').at(-1)}`);
  });

  test('has time for its drain', () => {
    expect(Number.parseInt(said(sidegate['stop_grace_period']), 10) * 1_000).toBeGreaterThan(config.shutdown.drainMs);
  });
});

describe('memcached', () => {
  test('is published on loopback alone, where the sidecar looks for it', () => {
    const published = each(memcached['ports']).map(String);
    expect(published).toEqual(['127.0.0.1:11211:11211']);
    expect(config.caching.shared.servers.map(({ host, port }) => `${host}:${port}:11211`)).toEqual(published);
  });
});
