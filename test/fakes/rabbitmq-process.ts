// A real RabbitMQ of one's own: a process with its own node name, epmd, ports and folders; hurt and ended by its process id.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type ErlangShell, openErlangShell } from './erlang-shell.ts';

/** A certificate that the broker shows, with its key (PEM). `clientCa`: it asks for one of these in return, and refuses who has none. */
export interface BrokerTls {
  readonly cert: string;
  readonly key: string;
  readonly clientCa?: string;
}

/** What a user may do in the vhost: regular expressions over names of exchanges and queues, as RabbitMQ has them. */
export interface BrokerRights {
  readonly configure: string;
  readonly write: string;
  readonly read: string;
}

/** A running RabbitMQ, always at the same ports of 127.0.0.1. */
export interface RabbitmqProcess {
  readonly host: string;
  /** AMQP in clear. */
  readonly port: number;
  /** AMQP over TLS; 0 where it was not asked for. */
  readonly tlsPort: number;
  /** Of the one user that is there from the start, who may do everything in `/`. */
  readonly user: string;
  readonly password: string;
  /** Of that user and vhost, as oslo.messaging writes it. */
  readonly transportUrl: string;
  /** What another node needs to join. */
  readonly cluster: { readonly home: string; readonly epmdPort: number; readonly node: string };
  /** 0 while it is not there. */
  readonly pid: number;
  /**
   * Ends RabbitMQ in its process, as `rabbitmqctl stop_app`: connections are cut and refused, what is not durable is gone. Within a
   * second where `restart` takes several.
   */
  stopApp(): Promise<void>;
  startApp(): Promise<void>;
  /** Ends the process in order and starts it again with what was durable; resolves when it serves. */
  restart(): Promise<void>;
  /** SIGKILL. Connections are refused when it resolves. */
  kill(): Promise<void>;
  /** After `kill`: starts it with what was on disk. */
  start(): Promise<void>;
  /** SIGSTOP: from when it resolves on the kernel accepts connections, and nothing is answered. */
  freeze(): Promise<void>;
  thaw(): void;
  addUser(name: string, password: string, rights: BrokerRights): Promise<void>;
  /** Replaces what the user may do. Channels that are open keep what they have looked up for some seconds. */
  allow(name: string, rights: BrokerRights): Promise<void>;
  /** Where every user that is added later has rights as well. `quorum`: its queues are that where nobody says otherwise. */
  addVhost(name: string, defaultQueueType?: 'classic' | 'quorum'): Promise<void>;
  /** Closes every connection, as an operator may. */
  closeConnections(): Promise<void>;
  /** Blocks who publishes, as a full disk does; `false`: lets them go on. */
  block(is: boolean): Promise<void>;
  /** Names of the queues of `/`. */
  queues(): Promise<readonly string[]>;
  /** What it has written to its log. */
  log(): string;
  /** What Erlang makes of an expression inside the broker, as text. Throws where it fails. */
  evaluate(expression: string): Promise<string>;
  /** Kills it, and leaves nothing behind. */
  close(): Promise<void>;
}

const server = '/usr/lib/rabbitmq/bin/rabbitmq-server';
const epmd = '/usr/bin/epmd';

/** Why RabbitMQ cannot be started here; undefined: it can. */
export const whyNoRabbitmqBinary: string | undefined = [server, epmd]
  .filter((path) => !existsSync(path))
  .map((path) => `${path} is missing`)[0];

/** Some seconds by itself, a minute on a machine that is busy. */
const startMs = 180_000;
const user = 'keystone';
const password = 'rabbit-secret';
const everything: BrokerRights = { configure: '.*', write: '.*', read: '.*' };

/** Which broker is started. */
export interface RabbitmqOptions {
  readonly tls?: BrokerTls;
  /** The first node of the cluster that it is a node of: close that one last. */
  readonly joins?: RabbitmqProcess;
}

/** Starts one with a state of its own, some 4 s. Throws where it is not installed or ends at once. */
export async function startRabbitmqProcess({ tls, joins }: RabbitmqOptions = {}): Promise<RabbitmqProcess> {
  if (whyNoRabbitmqBinary !== undefined) throw new Error(whyNoRabbitmqBinary);
  const directory = mkdtempSync(join(process.env['SIDEGATE_TEST_RUN'] ?? tmpdir(), 'sidegate-rabbitmq-'));
  const ports = await freePorts(4);
  const [port, tlsPort, ownEpmdPort, distributionPort] = ports as [number, number, number, number];
  // Nodes of a cluster find each other by one epmd, and know each other by the cookie in their home.
  const { home = directory, epmdPort = ownEpmdPort } = joins?.cluster ?? {};
  const at: Place = { directory, home, port, epmdPort, distributionPort };
  configure(at, tls && { ...tls, port: tlsPort });
  const mapper = joins
    ? undefined
    : spawn(epmd, ['-address', '127.0.0.1', '-port', String(epmdPort)], { stdio: 'ignore', env: environment(at) });
  let running: Running;
  try {
    if (mapper) await once(mapper, 'spawn');
    running = await boot(at);
    if (joins) await joinCluster(running, joins);
  } catch (error) {
    mapper?.kill('SIGKILL');
    const log = endOf(join(directory, 'log', 'rabbit.log'));
    rmSync(directory, { recursive: true, force: true });
    throw new Error(`RabbitMQ did not start; its log ends with:\n${log}`, { cause: error });
  }

  const isThere = (): boolean => running.child.exitCode === null && running.child.signalCode === null;
  const evaluate = (expression: string): Promise<string> => running.shell.evaluate(expression);
  const allow = async (name: string, { configure: may, write, read }: BrokerRights, vhost = '/'): Promise<void> => {
    const given = [name, vhost, may, write, read, 'test'].map(binary).join(', ');
    await evaluate(`ok = rabbit_auth_backend_internal:set_permissions(${given})`);
  };
  const users: string[] = [user];
  const kill = async (): Promise<void> => {
    if (!isThere()) return;
    const exited = once(running.child, 'exit');
    // Also where it is frozen.
    running.child.kill('SIGKILL');
    await exited;
  };

  return {
    host: '127.0.0.1',
    port,
    tlsPort: tls ? tlsPort : 0,
    user,
    password,
    transportUrl: `rabbit://${user}:${password}@127.0.0.1:${port}/`,
    cluster: { home, epmdPort, node: nodeAt(port) },
    get pid() {
      return isThere() ? (running.child.pid ?? 0) : 0;
    },
    stopApp: async () => void (await evaluate('ok = rabbit:stop()')),
    async startApp() {
      await evaluate('ok = rabbit:start()');
      await serving(running.shell);
    },
    async restart() {
      const exited = once(running.child, 'exit');
      // It says nothing any more when it is done.
      evaluate('rabbit:stop_and_halt()').catch(() => undefined);
      await exited;
      running = await boot(at);
    },
    kill,
    async start() {
      running = await boot(at);
    },
    async freeze() {
      running.child.kill('SIGSTOP');
      // Its threads stop one by one.
      while (isThere() && threadStates(running.child.pid).some((state) => state !== 'T')) await pause(1);
    },
    thaw: () => void running.child.kill('SIGCONT'),
    async addUser(name, secret, rights) {
      await evaluate(`ok = rabbit_auth_backend_internal:add_user(${binary(name)}, ${binary(secret)}, ${binary('test')})`);
      users.push(name);
      await allow(name, rights);
    },
    allow: (name, rights) => allow(name, rights),
    async addVhost(name, defaultQueueType = 'classic') {
      const about = `#{default_queue_type => ${binary(defaultQueueType)}}`;
      await evaluate(`ok = rabbit_vhost:add(${binary(name)}, ${about}, ${binary('test')})`);
      for (const one of users) await allow(one, everything, name);
    },
    closeConnections: async () => void (await evaluate('rabbit_networking:close_all_connections("closed by a test")')),
    block: async (is) =>
      void (await evaluate(
        `rabbit_alarm:${is ? 'set_alarm({{resource_limit, disk, node()}, []})' : 'clear_alarm({resource_limit, disk, node()})'}`,
      )),
    queues: async () => {
      const names = await evaluate(`[base64:encode(element(4, amqqueue:get_name(Q))) || Q <- rabbit_amqqueue:list(${binary('/')})]`);
      return [...names.matchAll(/"([^"]*)"/g)].map(([, name]) => Buffer.from(name ?? '', 'base64').toString());
    },
    log: () => readFileSync(join(directory, 'log', 'rabbit.log'), 'utf8'),
    evaluate,
    async close() {
      await kill();
      const ended = mapper && once(mapper, 'exit');
      if (mapper?.kill('SIGKILL')) await ended;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

interface Place {
  readonly directory: string;
  /** Where the cookie is. */
  readonly home: string;
  readonly port: number;
  readonly epmdPort: number;
  readonly distributionPort: number;
}

interface Running {
  readonly child: ChildProcess;
  readonly shell: ErlangShell;
}

function configure({ directory, port }: Place, tls: (BrokerTls & { readonly port: number }) | undefined): void {
  for (const folder of ['log', 'mnesia']) mkdirSync(join(directory, folder));
  writeFileSync(join(directory, 'plugins'), '[].\n');
  const lines = [
    `listeners.tcp.default = 127.0.0.1:${port}`,
    `default_user = ${user}`,
    `default_pass = ${password}`,
    // The machine's state is not what is tested.
    'disk_free_limit.absolute = 1MB',
    'vm_memory_high_watermark.absolute = 1GB',
  ];
  if (tls) {
    const file = (name: string, text: string): string => {
      const path = join(directory, name);
      writeFileSync(path, text, { mode: 0o600 });
      return path;
    };
    lines.push(
      `listeners.ssl.default = 127.0.0.1:${tls.port}`,
      `ssl_options.cacertfile = ${file('ca.pem', tls.clientCa ?? tls.cert)}`,
      `ssl_options.certfile = ${file('cert.pem', tls.cert)}`,
      `ssl_options.keyfile = ${file('key.pem', tls.key)}`,
      `ssl_options.verify = ${tls.clientCa === undefined ? 'verify_none' : 'verify_peer'}`,
      `ssl_options.fail_if_no_peer_cert = ${tls.clientCa !== undefined}`,
    );
  }
  writeFileSync(join(directory, 'rabbitmq.conf'), `${lines.join('\n')}\n`);
}

function environment({ directory, home, port, epmdPort, distributionPort }: Place): NodeJS.ProcessEnv {
  return {
    ...process.env,
    HOME: home,
    LC_ALL: 'C.UTF-8',
    ERL_EPMD_PORT: String(epmdPort),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_NODENAME: nodeAt(port),
    RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
    RABBITMQ_NODE_PORT: String(port),
    RABBITMQ_DIST_PORT: String(distributionPort),
    RABBITMQ_MNESIA_BASE: join(directory, 'mnesia'),
    RABBITMQ_LOG_BASE: join(directory, 'log'),
    RABBITMQ_LOGS: join(directory, 'log', 'rabbit.log'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(directory, 'plugins'),
    RABBITMQ_CONF_ENV_FILE: '/dev/null',
    RABBITMQ_CONFIG_FILE: join(directory, 'rabbitmq'),
    // An Erlang shell at its standard input: it ends with whoever holds the other end, however that ends.
    RABBITMQ_ALLOW_INPUT: '1',
    // No epmd that nobody ends, nothing that other machines reach, no schedulers that spin on a machine with two cores.
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS:
      '-start_epmd false -kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none',
  };
}

function nodeAt(port: number): string {
  return `sidegate-${port}@localhost`;
}

/** From then on it has what the other one has. */
async function joinCluster({ shell }: Running, { cluster }: RabbitmqProcess): Promise<void> {
  await shell.evaluate('ok = rabbit:stop()');
  await shell.evaluate(`ok = rabbit_mnesia:join_cluster('${cluster.node}', disc)`);
  await shell.evaluate('ok = rabbit:start()');
  await serving(shell);
}

/** Resolves when it serves. */
async function boot(at: Place): Promise<Running> {
  const child = spawn(server, { stdio: ['pipe', 'pipe', 'ignore'], env: environment(at) });
  await once(child, 'spawn');
  const shell = openErlangShell(child);
  try {
    await serving(shell);
    return { child, shell };
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
}

/**
 * Who answers at the port may be another; who answers here is this process, and it ends where it does not get its port. It serves a little
 * before it has done with its start, and until then a stop and a start would leave it stopped: the start would find one under way.
 */
async function serving(shell: ErlangShell): Promise<void> {
  const untilMs = performance.now() + startMs;
  while ((await shell.evaluate('rabbit:is_booted() andalso whereis(rabbit_boot) =:= undefined', startMs)) !== 'true') {
    if (performance.now() > untilMs) throw new Error(`it did not serve within ${startMs} ms`);
    await pause(20);
  }
}

/** Outside the kernel's ephemeral range: nobody's outgoing connection takes them while the broker is away. */
async function freePorts(count: number): Promise<readonly number[]> {
  const found = new Set<number>();
  for (let attempt = 0; found.size < count && attempt < 200; attempt += 1) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const probe = createServer();
    const free = await new Promise<boolean>((done) => {
      probe.once('error', () => done(false));
      probe.listen(port, '127.0.0.1', () => done(true));
    });
    if (!free) continue;
    await new Promise<void>((done) => probe.close(() => done()));
    found.add(port);
  }
  if (found.size < count) throw new Error('no free ports between 20000 and 32000');
  return [...found];
}

/** An Erlang binary, whatever its text. */
function binary(text: string): string {
  return `base64:decode(<<"${Buffer.from(text).toString('base64')}">>)`;
}

/** As /proc tells them; none where there is no /proc. */
function threadStates(pid: number | undefined): readonly string[] {
  const tasks = `/proc/${pid}/task`;
  if (!existsSync(tasks)) return [];
  return readdirSync(tasks).map((task) => /\) (\S)/.exec(readFileSync(join(tasks, task, 'stat'), 'utf8'))?.[1] ?? '');
}

function endOf(file: string): string {
  return existsSync(file) ? readFileSync(file, 'utf8').slice(-2_000) : '(there is none)';
}
