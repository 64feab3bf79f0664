// The Kubernetes manifests, checked for the fields that matter: no cluster is here to refuse them.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Config } from '../../src/config/types.ts';
import { parseDockerfile } from './dockerfile.ts';
import { configIn, documentsOf, each, filesOf, type Node, pairs, said, textOf } from './manifests.ts';

const folder = 'deploy/kubernetes/region';
const kustomization = documentsOf(`${folder}/kustomization.yaml`)[0] ?? {};
const listed = each(kustomization['resources']).map(String);
const generated = each(kustomization['configMapGenerator']).map((it): Node => {
  const data = Object.fromEntries(each(it['files']).map((file) => [String(file), textOf(`${folder}/${String(file)}`)]));
  return { kind: 'ConfigMap', metadata: { name: it['name'] }, data } as unknown as Node;
});

/** What is applied together, as it is applied. */
const sets = {
  sidecar: documentsOf('deploy/kubernetes/sidecar.yaml'),
  daemonset: documentsOf('deploy/kubernetes/daemonset.yaml'),
  region: [...listed.flatMap((file) => documentsOf(`${folder}/${file}`)), ...generated],
} satisfies Record<string, readonly Node[]>;
type SetName = keyof typeof sets;

const readme = textOf('deploy/README.md');
const stages = parseDockerfile(textOf('Dockerfile'));
const imageUser = stages.at(-1)?.instructions.find(({ word }) => word === 'USER')?.text ?? '';

const ofKind = (set: readonly Node[], ...kinds: string[]): readonly Node[] => set.filter(({ kind }) => kinds.includes(said(kind)));
const named = (set: readonly Node[], kind: string, name: unknown): Node | undefined =>
  ofKind(set, kind).find((it) => said(it['metadata']?.['name']) === said(name));
const workloads = (set: readonly Node[]): readonly Node[] => ofKind(set, 'Deployment', 'DaemonSet', 'StatefulSet');
const podOf = (workload: Node): Node => workload['spec']?.['template']?.['spec'] ?? {};
const labelsOf = (workload: Node): Node => workload['spec']?.['template']?.['metadata']?.['labels'] ?? {};
const containersOf = (pod: Node): readonly Node[] => [...each(pod['initContainers']), ...each(pod['containers'])];
const mountsOf = (container: Node): readonly Node[] => each(container['volumeMounts']);
const fits = (selector: Node | undefined, labels: Node): boolean =>
  pairs(selector?.['matchLabels'] ?? selector).every(([name, value]) => said(labels[name]) === value);
const portsOf = (workload: Node): readonly Node[] => containersOf(podOf(workload)).flatMap((it) => each(it['ports']));

const configOf = (set: readonly Node[]): Config => configIn(said(named(set, 'ConfigMap', 'sidegate')?.['data']?.['sidegate.yaml']));

/** The workload of a set that runs Sidegate, with that container. */
function sidegateIn(set: readonly Node[]): { readonly workload: Node; readonly pod: Node; readonly container: Node } {
  const found = workloads(set).flatMap((workload) =>
    containersOf(podOf(workload))
      .filter(({ name }) => said(name) === 'sidegate')
      .map((container) => ({ workload, pod: podOf(workload), container })),
  );
  const [only] = found;
  if (!only || found.length > 1) throw new Error(`${found.length} containers are called sidegate`);
  return only;
}

const everyPod = Object.entries(sets).flatMap(([set, documents]) =>
  workloads(documents).map((workload) => [`${set}/${said(workload['metadata']?.['name'])}`, workload, documents] as const),
);

describe('every pod', () => {
  test('there are as many as there should be', () => {
    expect(everyPod.map(([name]) => name).sort()).toEqual([
      'daemonset/sidegate',
      'region/image-api',
      'region/memcached',
      'sidecar/image-api',
    ]);
  });

  test.each(everyPod)('%s has no token of the cluster, and an account of its own', (_name, workload, documents) => {
    const pod = podOf(workload);
    expect(said(pod['automountServiceAccountToken'])).toBe('false');
    expect(said(named(documents, 'ServiceAccount', pod['serviceAccountName'])?.['automountServiceAccountToken'])).toBe('false');
  });

  test.each(everyPod)('%s is chosen by its own workload', (_name, workload) => {
    expect(pairs(workload['spec']?.['selector']?.['matchLabels']).length).toBeGreaterThan(0);
    expect(fits(workload['spec']?.['selector'], labelsOf(workload))).toBe(true);
  });

  test.each(everyPod)('%s runs nothing as root, but what gives away folders', (_name, workload) => {
    const pod = podOf(workload);
    for (const container of containersOf(pod)) {
      const own = container['securityContext'] ?? {};
      const rootName = said(container['name']) === 'folders' ? ['CHOWN'] : undefined;
      expect(said(own['allowPrivilegeEscalation'])).toBe('false');
      expect(each(own['capabilities']?.['drop']).map(String)).toEqual(['ALL']);
      expect(each(own['capabilities']?.['add']).map(String)).toEqual(rootName ?? []);
      expect(said(own['privileged'])).toBe('');
      expect(said((own['seccompProfile'] ?? pod['securityContext']?.['seccompProfile'])?.['type'])).toBe('RuntimeDefault');
      expect(said(own['runAsNonRoot'] ?? pod['securityContext']?.['runAsNonRoot'])).toBe(rootName ? '' : 'true');
      const user = own['runAsUser'] ?? pod['securityContext']?.['runAsUser'];
      expect(Number(user) > 0).toBe(rootName === undefined);
    }
    expect(said(pod['hostPID']) + said(pod['hostIPC'])).toBe('');
    expect(said(pod['hostNetwork'])).not.toBe('true');
  });

  test.each(everyPod)('%s mounts only volumes that it has, and has none for nothing', (_name, workload) => {
    const pod = podOf(workload);
    const volumes = each(pod['volumes']).map(({ name }) => said(name));
    const mounted = containersOf(pod)
      .flatMap(mountsOf)
      .map(({ name }) => said(name));
    expect([...new Set(mounted)].sort()).toEqual([...volumes].sort());
  });

  test.each(everyPod)('%s has its ConfigMaps beside it, and its Secrets in the steps of the page', (_name, workload, documents) => {
    for (const volume of each(podOf(workload)['volumes'])) {
      const map = volume['configMap']?.['name'];
      expect(map === undefined || named(documents, 'ConfigMap', map) !== undefined).toBe(true);
      const secret = volume['secret']?.['secretName'];
      expect(secret === undefined || readme.includes(`create secret generic ${said(secret)} `)).toBe(true);
    }
  });

  test.each(everyPod)('%s runs images of a version that is said', (_name, workload) => {
    const replaced = each(kustomization['images']).map((it) => [said(it['name']), `${said(it['newName'])}:${said(it['newTag'])}`] as const);
    const images = containersOf(podOf(workload)).map(({ image }) => new Map(replaced).get(said(image)) ?? said(image));
    for (const image of images) expect(image).toMatch(/^[a-z./-]+:\d+(\.\d+)+$/);
  });

  test.each(everyPod)('%s says how much memory it takes at most, and throttles nobody', (_name, workload) => {
    const pod = podOf(workload);
    for (const container of containersOf(pod).filter(({ name }) => said(name) !== 'image-api')) {
      expect(said(container['resources']?.['limits']?.['memory'])).toMatch(/^\d+Mi$/);
      expect(said(container['resources']?.['limits']?.['cpu'])).toBe('');
      expect(said(container['resources']?.['requests']?.['cpu'])).not.toBe('');
    }
  });
});

describe.each(Object.keys(sets) as SetName[])('Sidegate in %s', (name) => {
  const set = sets[name];
  const { workload, pod, container } = sidegateIn(set);
  const config = configOf(set);
  const mountOf = (path: string) => mountsOf(container).find(({ mountPath }) => `${path}/`.startsWith(`${said(mountPath)}/`));

  test('it is the version of this project', () => {
    const { version } = JSON.parse(textOf('package.json')) as { readonly version: string };
    const written =
      name === 'region' ? each(kustomization['images']).find((it) => said(it['name']) === 'sidegate')?.['newTag'] : container['image'];
    expect(said(written).split(':').at(-1)).toBe(version);
  });

  test('its probes ask the operations port, which kubelet can reach', () => {
    const operations = config.listen.operations;
    expect(operations?.host).toBe('0.0.0.0');
    const ports = new Map(each(container['ports']).map((it) => [said(it['name']), Number(it['containerPort'])]));
    const asked = ['startupProbe', 'readinessProbe', 'livenessProbe'].map((probe) => {
      const get = container[probe]?.['httpGet'];
      return [said(get?.['path']), ports.get(said(get?.['port']))];
    });
    expect(asked).toEqual([
      ['/readyz', operations?.port],
      ['/readyz', operations?.port],
      ['/healthz', operations?.port],
    ]);
    expect(said(workload['spec']?.['template']?.['metadata']?.['annotations']?.['prometheus.io/port'])).toBe(String(operations?.port));
  });

  test('everything else that it listens on is loopback', () => {
    const { tcp, keystone, introspection } = config.listen;
    for (const address of [tcp, keystone?.address, introspection]) expect(address?.host ?? '127.0.0.1').toBe('127.0.0.1');
  });

  test('it is the user of the image, on a root that nobody can write', () => {
    const { runAsUser, runAsGroup, readOnlyRootFilesystem } = container['securityContext'] ?? {};
    expect(`${said(runAsUser)}:${said(runAsGroup)}`).toBe(imageUser);
    expect(said(readOnlyRootFilesystem)).toBe('true');
  });

  test('what it reads is mounted read-only where the configuration says, and what it writes is not', () => {
    const reads = ['/etc/sidegate/sidegate.yaml', `${config.deploymentKeyDir}/k`, ...filesOf(config.issuers)];
    expect(reads.length).toBe(4);
    expect(reads.map((path) => said(mountOf(path)?.['readOnly']))).toEqual(reads.map(() => 'true'));
    const writes = [config.listen.socket?.path ?? '', config.journal.dir ?? ''];
    expect(writes.map((path) => mountOf(path) !== undefined && mountOf(path)?.['readOnly'] === undefined)).toEqual([true, true]);
  });

  test('the files of its Secrets are those that the page makes, and those that it can read', () => {
    const wanted = filesOf(config.issuers).map((path) => path.split('/').at(-1));
    expect(wanted.filter((file) => !new RegExp(`sidegate-credentials [^\n]*(\n[^\n]*)?--from-file=${file}=`).test(readme))).toEqual([]);
    const volumes = each(pod['volumes']).filter((it) => it['secret'] !== undefined);
    expect(volumes.length).toBe(2);
    // By group where there is one for the volumes, by everybody where not.
    const mode = pod['securityContext']?.['fsGroup'] === undefined ? 0o444 : 0o440;
    expect(volumes.map((it) => Number(it['secret']?.['defaultMode']))).toEqual([mode, mode]);
  });

  test('it has time for its drain', () => {
    expect(Number(pod['terminationGracePeriodSeconds']) * 1_000).toBeGreaterThan(config.shutdown.drainMs);
  });
});

describe.each(['sidecar', 'region'] as const)('the native sidecar of %s', (name) => {
  const { pod, container } = sidegateIn(sets[name]);
  const config = configOf(sets[name]);

  test('starts before the service and ends after it', () => {
    expect(each(pod['initContainers']).map((it) => said(it['name']))).toEqual(['sidegate']);
    expect(said(container['restartPolicy'])).toBe('Always');
    expect(container['startupProbe']).toBeDefined();
  });

  test('shares its socket by a folder that one group of the pod may enter', () => {
    const socket = mountsOf(container).find(({ mountPath }) => said(mountPath) === '/run/sidegate');
    const service = each(pod['containers'])
      .flatMap(mountsOf)
      .find((it) => said(it['name']) === said(socket?.['name']));
    expect([said(service?.['mountPath']), said(service?.['readOnly']), said(service?.['subPath'])]).toEqual(['/run/sidegate', 'true', '']);
    expect(Number(pod['securityContext']?.['fsGroup'])).toBeGreaterThan(0);
    expect(config.listen.socket?.mode).toBe(0o660);
  });

  test('is what the service asks by the four lines', () => {
    const file = Object.values(named(sets[name], 'ConfigMap', 'image-api')?.['data'] ?? {}).map(String)[0] ?? '';
    const address = config.listen.keystone?.address;
    expect(file.trim().split('\n')).toEqual([
      '[keystone_authtoken]',
      'auth_type = admin_token',
      `endpoint = http://${address?.host}:${address?.port}/v3`,
      'token = unused',
      'token_cache_time = -1',
    ]);
  });

  test('tells Keystone of what is revoked here, as its journal ends with the pod', () => {
    const journal = mountsOf(container).find(({ mountPath }) => said(mountPath) === '/var/lib/sidegate');
    const volume = each(pod['volumes']).find((it) => said(it['name']) === said(journal?.['name']));
    expect(volume?.['emptyDir']).toBeDefined();
    expect(config.issuers.map(({ revokeUpstream }) => revokeUpstream)).toEqual([true]);
  });
});

test('the pod of the region is that of sidecar.yaml', () => {
  const neutral = (text: string) => text.replaceAll(/"image":"[^"]*?([a-z-]+)(:[^":]+)?"/g, '"image":"$1"');
  const [one, other] = [sidegateIn(sets.sidecar), sidegateIn(sets.region)].map(({ workload }) => neutral(JSON.stringify(workload['spec'])));
  expect(other).toBe(one);
});

describe('the daemon of a node', () => {
  const { workload, pod, container } = sidegateIn(sets.daemonset);
  const config = configOf(sets.daemonset);

  test('can be reached by its socket alone', () => {
    expect([config.listen.tcp, config.listen.keystone, config.listen.introspection]).toEqual([undefined, undefined, undefined]);
    expect(said(pod['hostNetwork'])).toBe('false');
    expect(portsOf(workload).flatMap((it) => said(it['hostPort']) || [])).toEqual([]);
  });

  test('gets from its host the two folders that it writes, made its own before it starts', () => {
    const hosts = each(pod['volumes']).flatMap((it) => (it['hostPath'] === undefined ? [] : [said(it['name'])]));
    expect(hosts).toEqual(['socket', 'journal']);
    const [folders] = each(pod['initContainers']);
    const places = mountsOf(folders ?? {}).map(({ mountPath }) => said(mountPath));
    expect(places).toEqual(['/run/sidegate', '/var/lib/sidegate']);
    const script = said(each(folders?.['command']).at(-1));
    expect(script).toContain(`in ${places.join(' ')};`);
    expect(script).toContain(`chown ${imageUser} "$dir"`);
    expect(mountsOf(container).map(({ name }) => said(name))).toEqual(expect.arrayContaining(hosts));
  });

  test('is never there twice on a node', () => {
    expect(workload['spec']?.['updateStrategy']?.['rollingUpdate']).toEqual({ maxUnavailable: 1, maxSurge: 0 });
  });
});

describe('the region', () => {
  const set = sets.region;
  const memcached = named(set, 'StatefulSet', 'memcached') ?? {};

  test('every file of the folder is in the kustomization, and every one of it is there', () => {
    const files = each(kustomization['configMapGenerator']).flatMap((it) => each(it['files']).map(String));
    const there = readdirSync(join(import.meta.dirname, '..', '..', folder));
    expect([...listed, ...files, 'kustomization.yaml'].sort()).toEqual(there.sort());
  });

  test('it runs in the namespace that it makes, under the strictest standard', () => {
    const [namespace] = ofKind(set, 'Namespace');
    expect(said(namespace?.['metadata']?.['name'])).toBe(said(kustomization['namespace']));
    expect(said(namespace?.['metadata']?.['labels']?.['pod-security.kubernetes.io/enforce'])).toBe('restricted');
    const volumes = workloads(set)
      .flatMap((it) => each(podOf(it)['volumes']))
      .flatMap(Object.keys);
    expect([...new Set(volumes)].sort()).toEqual(['configMap', 'emptyDir', 'name', 'secret']);
  });

  test('the servers of the shared tier are those that run, by the names that the Service gives them', () => {
    const service = named(set, 'Service', memcached['spec']?.['serviceName']) ?? {};
    expect(said(service['spec']?.['clusterIP'])).toBe('None');
    expect(fits(service['spec']?.['selector'], labelsOf(memcached))).toBe(true);
    const [port] = each(service['spec']?.['ports']);
    const named_ = portsOf(memcached).find((it) => said(it['name']) === said(port?.['targetPort']));
    // Headless: a name leads to the pod itself, so both are one number.
    expect(Number(port?.['port'])).toBe(Number(named_?.['containerPort']));
    const names = Array.from({ length: Number(memcached['spec']?.['replicas']) }, (_, index) => ({
      host: `${said(memcached['metadata']?.['name'])}-${index}.${said(service['metadata']?.['name'])}`,
      port: Number(port?.['port']),
    }));
    expect(names.length).toBe(2);
    expect(configOf(set).caching.shared.servers).toEqual(names);
  });

  test('memcached is probed where it listens', () => {
    const [container] = each(podOf(memcached)['containers']);
    for (const probe of ['readinessProbe', 'livenessProbe']) {
      expect(each(container?.['ports']).map((it) => said(it['name']))).toContain(said(container?.[probe]?.['tcpSocket']?.['port']));
    }
    const megabytes = Number(each(container?.['args']).map(String)[1]);
    expect(Number.parseInt(said(container?.['resources']?.['limits']?.['memory']), 10)).toBeGreaterThan(megabytes);
  });

  test('every disruption budget is about pods of the region, and leaves room to move one', () => {
    const budgets = ofKind(set, 'PodDisruptionBudget');
    expect(budgets.map((it) => said(it['metadata']?.['name'])).sort()).toEqual(['image-api', 'memcached']);
    for (const { spec } of budgets) {
      const chosen = workloads(set).filter((it) => fits(spec?.['selector'], labelsOf(it)));
      expect(chosen.length).toBe(1);
      expect(Number(chosen[0]?.['spec']?.['replicas'])).toBeGreaterThan(Number(spec?.['minAvailable'] ?? 0));
    }
  });
});

describe('the network policies', () => {
  const all = [...ofKind(sets.region, 'NetworkPolicy'), ...ofKind(sets.daemonset, 'NetworkPolicy')];
  const everyWorkload = [...workloads(sets.region), ...workloads(sets.daemonset)];
  const chosenBy = (policy: Node) => everyWorkload.filter((it) => fits(policy['spec']?.['podSelector'], labelsOf(it)));

  test('each chooses pods that are there, and opens ports that they have', () => {
    expect(all.length).toBe(4);
    for (const policy of all) {
      const pods = chosenBy(policy);
      expect(pods.length).toBe(1);
      const open = each(policy['spec']?.['ingress'])
        .flatMap((it) => each(it['ports']))
        .map((it) => Number(it['port']));
      expect(open.length).toBe(1);
      expect(pods.flatMap(portsOf).map((it) => Number(it['containerPort']))).toEqual(expect.arrayContaining(open));
    }
  });

  test('memcached is reached by sidecars alone, and calls nobody', () => {
    const spec = named(sets.region, 'NetworkPolicy', 'memcached')?.['spec'];
    expect(each(spec?.['policyTypes']).map(String)).toEqual(['Ingress', 'Egress']);
    expect(spec?.['egress']).toBeUndefined();
    expect(each(spec?.['ingress']).length).toBe(1);
    const from = each(each(spec?.['ingress'])[0]?.['from']);
    expect(from.map((it) => Object.keys(it))).toEqual([['podSelector']]);
    const allowed = workloads(sets.region).filter((it) => fits(from[0]?.['podSelector'], labelsOf(it)));
    expect(allowed.map((it) => said(it['metadata']?.['name']))).toEqual(['image-api']);
  });

  test.each([['region'], ['daemonset']] as const)('the operations port of %s is open to Prometheus alone', (name) => {
    const policies = ofKind(sets[name], 'NetworkPolicy').filter((it) =>
      fits(it['spec']?.['podSelector'], labelsOf(sidegateIn(sets[name]).workload)),
    );
    const port = configOf(sets[name]).listen.operations?.port;
    const rules = policies
      .flatMap((it) => each(it['spec']?.['ingress']))
      .filter((it) => each(it['ports']).some((one) => Number(one['port']) === port));
    expect(rules.flatMap((it) => each(it['from']))).toEqual([
      {
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } },
        podSelector: { matchLabels: { 'app.kubernetes.io/name': 'prometheus' } },
      },
    ]);
    // A rule without ports would open them all.
    expect(policies.flatMap((it) => each(it['spec']?.['ingress'])).filter((it) => it['ports'] === undefined)).toEqual([]);
  });
});
