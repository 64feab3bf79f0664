// The systemd unit: what it promises, and that its configuration fits the folders and credentials that it gives.
import { describe, expect, test } from 'vitest';
import { configIn, filesOf, textOf } from './manifests.ts';

const unit = textOf('deploy/systemd/sidegate.service');
const sysusers = textOf('deploy/systemd/sidegate.sysusers');
const readme = textOf('deploy/README.md');
const config = configIn(textOf('deploy/systemd/sidegate.yaml'));

const settings = unit
  .split('\n')
  .filter((line) => line !== '' && !/^[#[]/.test(line))
  .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)] as const);
const all = (name: string) => settings.filter(([key]) => key === name).map(([, value]) => value);
const one = (name: string) => all(name).join(' ');

describe('the unit', () => {
  test('is read whole: sections, comments and settings', () => {
    expect(unit.split('\n').filter((line) => line.startsWith('['))).toEqual(['[Unit]', '[Service]', '[Install]']);
    expect(settings.length).toBeGreaterThan(40);
    expect(settings.filter(([name]) => !/^[A-Z][A-Za-z]+$/.test(name))).toEqual([]);
  });

  test('runs as the user and group that sysusers makes, without a capability', () => {
    const [, user] = /^u (\S+) - /m.exec(sysusers) ?? [];
    expect([one('User'), one('Group'), one('DynamicUser')]).toEqual([user, user, '']);
    expect([all('CapabilityBoundingSet'), all('AmbientCapabilities')]).toEqual([[''], ['']]);
  });

  test('may write its two folders and nothing else', () => {
    expect(one('ProtectSystem')).toBe('strict');
    expect(all('ReadWritePaths')).toEqual([]);
    expect(config.listen.socket?.path).toBe(`/run/${one('RuntimeDirectory')}/sidegate.sock`);
    expect(config.journal.dir?.startsWith(`/var/lib/${one('StateDirectory')}/`)).toBe(true);
    expect([one('RuntimeDirectoryMode'), one('StateDirectoryMode')]).toEqual(['0750', '0700']);
    expect(config.listen.socket).toMatchObject({ mode: 0o660, group: one('Group') });
  });

  test.each([
    ['NoNewPrivileges', 'yes'],
    ['ProtectHome', 'yes'],
    ['PrivateTmp', 'yes'],
    ['PrivateDevices', 'yes'],
    ['ProtectClock', 'yes'],
    ['ProtectHostname', 'yes'],
    ['ProtectKernelLogs', 'yes'],
    ['ProtectKernelModules', 'yes'],
    ['ProtectKernelTunables', 'yes'],
    ['ProtectControlGroups', 'yes'],
    ['ProtectProc', 'invisible'],
    ['RestrictNamespaces', 'yes'],
    ['RestrictRealtime', 'yes'],
    ['RestrictSUIDSGID', 'yes'],
    ['LockPersonality', 'yes'],
    ['RestrictAddressFamilies', 'AF_UNIX AF_INET AF_INET6 AF_NETLINK'],
    ['SystemCallArchitectures', 'native'],
    ['SystemCallFilter', '@system-service ~@privileged @resources'],
    // V8 compiles at run time.
    ['MemoryDenyWriteExecute', ''],
  ])('%s is %s', (name, value) => {
    expect(one(name)).toBe(value);
  });

  test('hands over exactly the files that the configuration names', () => {
    const credentials = all('LoadCredential').map((it) => it.split(':'));
    expect(credentials.map(([name]) => name).sort()).toEqual(
      filesOf(config.issuers)
        .map((path) => path.replace('/credentials/', ''))
        .sort(),
    );
    for (const [, path = ''] of credentials) expect(readme).toContain(path);
    expect(readme).toContain(config.deploymentKeyDir);
  });

  test('starts what the page installs, waits until it serves, and gives it time to drain', () => {
    const [, program = ''] = /^(?:\S+) (\S+) serve --config \/etc\/sidegate\/sidegate\.yaml$/.exec(one('ExecStart')) ?? [];
    expect(program).toBe('/opt/sidegate/dist/cli.js');
    expect(readme).toContain('/opt/sidegate');
    expect(one('ExecStartPost')).toContain(`${program} status --wait serving --timeout 60s --quiet`);
    expect(one('Type')).toBe('exec');
    expect(Number.parseInt(one('TimeoutStartSec'), 10)).toBeGreaterThan(60);
    expect(Number.parseInt(one('TimeoutStopSec'), 10) * 1_000).toBeGreaterThan(config.shutdown.drainMs);
    expect([one('Restart'), one('StartLimitIntervalSec')]).toEqual(['on-failure', '0']);
  });
});
