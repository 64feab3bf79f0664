// The Debian packages that suites need: which are missing, whether they may be installed, and installing them.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';

/** Suite (vitest project) → the Debian packages it needs beyond what every Debian has. */
export const packagesOf = {
  unit: ['memcached', 'nats-server', 'rabbitmq-server'],
  foreign: ['openssl', 'python3', 'python3-grpcio', 'python3-grpc-tools', 'python3-keystoneclient', 'python3-keystonemiddleware'],
  // `python3-keystone` holds the library and keystone-manage; `keystone` would add debconf questions, a user and a service.
  e2e: [
    'python3',
    'python3-keystone',
    'python3-keystonemiddleware',
    'uwsgi-core',
    'uwsgi-plugin-python3',
    'memcached',
    'rabbitmq-server',
    'faketime',
  ],
};

/** Why packages cannot be installed on this machine, or undefined when they can: only root on Debian, with apt. */
export function whyNoPackages() {
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  if (!/^ID="?debian"?$/m.test(release)) return 'needs Debian packages, and this is not Debian';
  if (process.getuid?.() !== 0) return 'needs Debian packages, which only root may install';
  if (!existsSync('/usr/bin/apt-get')) return 'needs Debian packages, and apt-get is not here';
  return undefined;
}

/** Those of `names` that dpkg does not know as installed. */
export function missingPackages(names) {
  if (names.length === 0) return [];
  const { stdout } = spawnSync('dpkg-query', ['--status', ...names], { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C.UTF-8' } });
  const installed = (stdout ?? '')
    .split('\n\n')
    .filter((entry) => /^Status: .* installed$/m.test(entry))
    .map((entry) => /^Package: (.*)$/m.exec(entry)?.[1]);
  return names.filter((name) => !installed.includes(name));
}

/**
 * Installs `names` with apt, starting no service of theirs.
 * Returns undefined when all are there, else what failed, in one line.
 */
export function installPackages(names, say) {
  const policy = '/usr/sbin/policy-rc.d';
  // Maintainer scripts would start services: forbidden while we install, unless the machine forbids it already (Docker images do).
  const forbidden = existsSync(policy);
  if (!forbidden) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    for (let attempt = 1; ; attempt += 1) {
      const failed = aptGet('update') ?? aptGet('install', '-y', '--no-install-recommends', ...names);
      if (failed === undefined || attempt === attempts) return failed;
      say(`${failed}; trying again (${attempt + 1} of ${attempts})`);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, attempt * 5_000);
    }
  } finally {
    if (!forbidden) rmSync(policy, { force: true });
  }
}

const attempts = 4;
const minutesMs = 60_000;

function aptGet(...args) {
  const options = [
    '-qq',
    '-o',
    'DPkg::Lock::Timeout=600',
    '-o',
    'Acquire::Retries=3',
    '-o',
    'Acquire::http::Timeout=60',
    '-o',
    'Dpkg::Use-Pty=0',
  ];
  const { status, signal, error, stderr, stdout } = spawnSync('apt-get', [...options, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 20 * minutesMs,
    maxBuffer: 64 * 1024 * 1024,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' },
  });
  if (status === 0) return undefined;
  const last = `${stdout ?? ''}\n${stderr ?? ''}`
    .split('\n')
    .filter((line) => /^(E|Err)[: ]/.test(line))
    .slice(-3)
    .join(' | ');
  return `apt-get ${args[0]} failed (${error?.code ?? signal ?? `exit ${status}`}) ${last}`.trim();
}
