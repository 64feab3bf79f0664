// The stream that is the log: found or made, and whether it is what is wanted.

import type { StreamConfig, StreamInfo } from '@nats-io/jetstream';
import { Late } from '../amqp/deadline.ts';
import type { JetstreamConnection } from './jetstream-connection.ts';
import { noLog, refusalOf } from './jetstream-error.ts';

/** As it is wanted. */
export interface WantedStream {
  readonly name: string;
  readonly subject: string;
  readonly retentionMs: number;
  readonly replicas: number;
}

const notFound = 10059;
/** The leader of the stream answers. A cluster that has lost it chooses another one within some 5 s, and what was asked before is lost. */
const lookMs = 1_000;
const mostLooks = 6;
const nanosecondsPerMs = 1_000_000;

/**
 * Finds the stream, or makes it. Answers in which way it is another than is wanted, for people; undefined: it is as wanted. Rejects with a
 * SidecarError where it is none that can be used.
 */
export async function findStream(connection: JetstreamConnection, wanted: WantedStream): Promise<string | undefined> {
  const found = (await lookUp(connection, wanted.name)) ?? (await make(connection, wanted));
  const unfit = unfitness(found.config, wanted);
  if (unfit !== undefined) throw noLog(`the stream ${wanted.name} ${unfit}`);
  return remarkOn(found.config, wanted);
}

async function lookUp(connection: JetstreamConnection, name: string): Promise<StreamInfo | undefined> {
  for (let left = mostLooks; ; left -= 1) {
    try {
      return await connection.ask(connection.manager.streams.info(name), lookMs);
    } catch (error) {
      const { cause } = error as Error;
      if (refusalOf(cause) === notFound) return undefined;
      if (left === 1 || !(cause instanceof Late)) throw error;
    }
  }
}

async function make(connection: JetstreamConnection, wanted: WantedStream): Promise<StreamInfo> {
  const config = {
    name: wanted.name,
    subjects: [wanted.subject],
    storage: 'file',
    retention: 'limits',
    discard: 'old',
    max_age: wanted.retentionMs * nanosecondsPerMs,
    num_replicas: wanted.replicas,
  } as const;
  try {
    return await connection.ask(connection.manager.streams.add(config));
  } catch (error) {
    // Somebody who wants it otherwise may have been first.
    const found = connection.signal.aborted ? undefined : await lookUp(connection, wanted.name);
    if (found !== undefined) return found;
    throw error;
  }
}

/** What forbids to use it: records would get lost, or others come. */
function unfitness(config: StreamConfig, wanted: WantedStream): string | undefined {
  const { subjects = [], mirror, sources = [] } = config;
  if (mirror !== undefined || sources.length > 0) return 'is a copy of another one: it is not ours';
  if (subjects.length !== 1 || subjects[0] !== wanted.subject) return `has other subjects than ${wanted.subject}: it is not ours`;
  if (config.retention !== 'limits') return 'forgets what has been read: its retention must be by limits';
  if (config.no_ack) return 'confirms nothing: it must acknowledge';
  if (config.sealed) return 'is sealed: nothing can be appended';
  return undefined;
}

function remarkOn(config: StreamConfig, wanted: WantedStream): string | undefined {
  const age = config.max_age / nanosecondsPerMs;
  const remarks = [
    age !== wanted.retentionMs && `keeps records ${age === 0 ? 'for ever' : `for ${age / 1_000} s`}, not ${wanted.retentionMs / 1_000} s`,
    config.storage !== 'file' && 'keeps them in memory: a restart forgets them',
    config.num_replicas !== wanted.replicas && `has ${config.num_replicas} replicas, not ${wanted.replicas}`,
  ].filter((remark) => remark !== false);
  return remarks.length === 0 ? undefined : `the stream ${wanted.name} is used as it is: it ${remarks.join('; it ')}`;
}
