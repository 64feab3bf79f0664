// What a request feels of faults, with auth_token as deployed today, over the face, and with the near cache: for a known token and an unknown one.

import type { Row } from '../report.ts';
import type { Stage, WayName } from './stage.ts';
import type { Once, Subject } from './subject.ts';

interface Fault {
  readonly name: string;
  readonly title: string;
  begin(stage: Stage, way: WayName): Promise<void> | void;
  end(stage: Stage, way: WayName): Promise<void> | void;
}

/** Of each way its own memcached: for those that ask the sidecar that is the tier that it shares. */
const memcachedOf = ({ theirs, ours }: Stage, way: WayName) => (way === 'today' ? theirs : ours);

const faults: readonly Fault[] = [
  {
    name: 'memcached_hangs',
    title: 'memcached hangs (SIGSTOP)',
    begin: (stage, way) => memcachedOf(stage, way).freeze(),
    end: (stage, way) => memcachedOf(stage, way).thaw(),
  },
  {
    name: 'keystone_hangs',
    title: 'Keystone takes connections and does not answer',
    begin: ({ gate }) => gate.become('hanging'),
    end: ({ gate }) => gate.become('open'),
  },
  {
    name: 'keystone_down',
    title: 'Keystone is down (its port is closed)',
    begin: ({ gate }) => gate.become('shut'),
    end: ({ gate }) => gate.become('open'),
  },
];

/** The deadline of a question to the sidecar, 5 s by default, and the way through Python. */
const withinDeadline = '<= 5.5';

/** The rows: seconds until an answer, and which. What is not answered is given up at the limit, and said. */
export async function measureFaults(stage: Stage, quick: boolean): Promise<readonly Row[]> {
  const limitSeconds = quick ? 8 : 40;
  const times = quick ? 1 : 3;
  const rows: Row[] = [];
  for (const fault of faults) {
    for (const name of ['today', 'face', 'near'] as const) {
      const way = stage.ways.get(name);
      if (way) rows.push(...(await rowsOf(fault, { stage, name, subject: await stage.start(way), limitSeconds, times })));
    }
  }
  return rows;
}

interface Trial {
  readonly stage: Stage;
  readonly name: WayName;
  readonly subject: Subject;
  readonly limitSeconds: number;
  readonly times: number;
}

async function rowsOf(fault: Fault, { stage, name, subject, limitSeconds, times }: Trial): Promise<readonly Row[]> {
  const fresh = (): Promise<string[]> => Promise.all(Array.from({ length: times }, () => stage.keystone.token()));
  const [known, unknown] = [await fresh(), await fresh()];
  await subject.measure(known, times * 2);
  const ask = async (tokens: readonly string[]): Promise<readonly Once[]> => {
    const answers: Once[] = [];
    for (const token of tokens) {
      const answer = await subject.once(token, limitSeconds);
      answers.push(answer);
      // Its thread is lost, and with it what the others would share: one is enough to tell.
      if (answer.status === undefined) break;
    }
    return answers;
  };
  await fault.begin(stage, name);
  try {
    // First what is not known: a known token may be what finds out that memcached hangs.
    const [ofUnknown, ofKnown] = [await ask(unknown), await ask(known)];
    return [rowOf(fault, name, 'known', ofKnown), rowOf(fault, name, 'unknown', ofUnknown)];
  } finally {
    await fault.end(stage, name);
    await subject.end();
    // What stands between the faults: the sidecar's breaker and the pause after a failed login.
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

function rowOf(fault: Fault, name: WayName, which: 'known' | 'unknown', answers: readonly Once[]): Row {
  const slowest = Math.max(...answers.map(({ seconds }) => seconds));
  const said = answers.map(({ status, seconds }) => `${status ?? 'no answer, given up'} after ${seconds.toFixed(3)} s`).join(', ');
  // A hit must be an answer that lets the caller in; a miss must only end.
  const isMet = which === 'unknown' || answers.every(({ status }) => status?.startsWith('200'));
  return {
    answer: {
      name: `middleware_${name}_${fault.name}_${which}`,
      value: isMet ? slowest : Math.max(slowest, refusedSeconds),
      unit: 's',
      wanted: name === 'today' ? null : withinDeadline,
    },
    note: `${fault.title}, a token that is ${which === 'known' ? 'known' : 'not known'}: ${said}`,
  };
}

/** What a hit that was refused counts as: more than any deadline. */
const refusedSeconds = 60;
