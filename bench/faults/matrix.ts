// The faults of a fleet: whose, and which. Each comes, stays for its time, and goes.

import type { FleetStage, Member } from '../fleet/stage.ts';
import type { Way, WayState } from '../fleet/way.ts';
import type { Scene } from './scene.ts';

export const subjects = ['engine', 'memcached', 'keystone', 'bus', 'sidecar'] as const;
export const kinds = ['killed', 'restarted', 'stopped', 'hanging', 'slow', 'cut'] as const;

/** What is hurt. The bus is Keystone's, and has a broker of its own. A sidecar that hangs, is slow or is cut off is so on its way to the log. */
export type Subject = (typeof subjects)[number];
/** `stopped`: and continued. `cut`: one way. */
export type Kind = (typeof kinds)[number];

/** One cell of the matrix. */
export interface Cell {
  readonly subject: Subject;
  readonly kind: Kind;
}

/** All of them. */
export const cells: readonly Cell[] = subjects.flatMap((subject) => kinds.map((kind) => ({ subject, kind })));

/** Begins the fault; what it answers ends it, resolved when everything is there again. */
export async function begin({ subject, kind }: Cell, stage: FleetStage, scene: Scene): Promise<() => Promise<void>> {
  if (subject === 'engine') return apart(kind, stage.members, scene, await hurtEngine(kind, stage));
  if (subject === 'memcached') {
    const { memcached } = stage;
    return hurtServer(kind, { ...serverOf({ ...bound(memcached), start: () => memcached.restart() }), ways: [stage.toMemcached] });
  }
  if (subject === 'keystone') return hurtKeystone(kind, stage, scene);
  if (subject === 'bus') return apart(kind, stage.members, scene, await hurtBus(kind, stage));
  const [member] = stage.members;
  if (member === undefined) throw new Error('a fleet has a sidecar');
  if (kind === 'killed' || kind === 'restarted' || kind === 'stopped') return hurtProcess(kind, member, scene);
  return apart(kind, [member], scene, await hurtWays(kind, [member.toEngine]));
}

/** Who hears nothing of the log, or of the bus, has to know. What is late is heard, and what is there again at once, too. */
function apart(kind: Kind, members: readonly Member[], scene: Scene, end: () => Promise<void>): () => Promise<void> {
  if (kind === 'restarted' || kind === 'slow') return end;
  const over = scene.apart(members.map(({ sidecar }) => sidecar.name));
  return async () => {
    over();
    await end();
  };
}

function hurtEngine(kind: Kind, { engine, members }: FleetStage): Promise<() => Promise<void>> {
  return hurtServer(kind, { ...serverOf(engine), ways: members.map(({ toEngine }) => toEngine) });
}

/** Keystone reaches it by itself: what is hurt on the way to the sidecars was published all the same. */
function hurtBus(kind: Kind, { bus, members }: FleetStage): Promise<() => Promise<void>> {
  if (bus === undefined) throw new Error('there is no bus');
  return hurtServer(kind, { ...serverOf(bus.broker), ways: members.flatMap(({ toBus }) => toBus ?? []) });
}

/** To whom the news of the bus may come late while this is hurt, and until everybody is well again: nobody's name is everybody. */
export function unheardIn({ subject, kind }: Cell, { members }: FleetStage): readonly { readonly sidecar?: string }[] {
  if (subject === 'bus') return [{}];
  const isProcess = subject === 'sidecar' && ['killed', 'restarted', 'stopped'].includes(kind);
  return isProcess ? members.slice(0, 1).map(({ sidecar }) => ({ sidecar: sidecar.name })) : [];
}

interface Server {
  kill(): Promise<void>;
  start(): Promise<void>;
  freeze(): Promise<void>;
  thaw(): void;
}

interface Victim extends Server {
  readonly ways: readonly Way[];
}

const bound = (server: Omit<Server, 'start'>): Omit<Server, 'start'> => ({
  kill: () => server.kill(),
  freeze: () => server.freeze(),
  thaw: () => server.thaw(),
});
const serverOf = (server: Server): Server => ({ ...bound(server), start: () => server.start() });

async function hurtServer(kind: Kind, victim: Victim): Promise<() => Promise<void>> {
  switch (kind) {
    case 'killed':
      await victim.kill();
      return () => victim.start();
    case 'restarted':
      await victim.kill();
      await victim.start();
      return async () => undefined;
    case 'stopped':
      await victim.freeze();
      return async () => victim.thaw();
    default:
      return hurtWays(kind, victim.ways);
  }
}

async function hurtWays(kind: Kind, ways: readonly Way[]): Promise<() => Promise<void>> {
  for (const [at, way] of ways.entries()) way.become(stateOf(kind, at));
  return async () => {
    for (const way of ways) way.become('open');
  };
}

/** Of several ways one is cut in one direction and the next one in the other. */
function stateOf(kind: Kind, at: number): WayState {
  if (kind === 'cut') return at % 2 === 0 ? 'mute' : 'deaf';
  return kind === 'slow' ? 'slow' : 'hanging';
}

/** It is scripted, within this process: what stops it is that it answers nothing. */
async function hurtKeystone(kind: Kind, { keystone, toKeystone }: FleetStage, scene: Scene): Promise<() => Promise<void>> {
  const ended = kind === 'slow' ? () => undefined : scene.silent();
  const well = async (): Promise<void> => {
    await keystone.become('well');
    ended();
  };
  if (kind === 'killed' || kind === 'restarted') {
    await keystone.become('down');
    if (kind === 'restarted') await keystone.become('well');
    return well;
  }
  if (kind === 'stopped') {
    await keystone.become('hanging');
    return well;
  }
  const open = await hurtWays(kind, [toKeystone]);
  return async () => {
    await open();
    ended();
  };
}

async function hurtProcess(kind: 'killed' | 'restarted' | 'stopped', { sidecar }: Member, scene: Scene): Promise<() => Promise<void>> {
  const came = scene.silent(sidecar.name);
  if (kind === 'stopped') {
    const { pid } = sidecar;
    process.kill(pid, 'SIGSTOP');
    return async () => {
      process.kill(pid, 'SIGCONT');
      came();
    };
  }
  await scene.stop(sidecar, kind === 'killed' ? 'SIGKILL' : 'SIGTERM');
  const start = async (): Promise<void> => {
    await sidecar.start();
    came();
  };
  if (kind === 'killed') return start;
  await start();
  return async () => undefined;
}
