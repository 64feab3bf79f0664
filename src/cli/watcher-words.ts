// What is told of those who watch: how many, and how far those have come who say so.

import type { Status } from '../client/index.ts';
import { counted, short, span } from './words.ts';

/** `0`; `5, of which 2 acknowledge: all up to what is applied`; or by how much the one furthest behind is. */
export function watcherWords({ watcherCount, acknowledgements, applied }: Status, nowMs: number): string {
  const all = counted(watcherCount);
  const told = acknowledgements.flatMap(({ subscription, cursor, acknowledgedAtMs }) =>
    cursor === undefined ? [] : [{ subscription, revision: cursor.revision, atMs: acknowledgedAtMs }],
  );
  const [first, ...others] = told;
  if (first === undefined || applied === undefined) return all;
  const count = `${all}, of which ${counted(told.length)} ${told.length === 1 ? 'acknowledges' : 'acknowledge'}`;
  const last = others.reduce((one, other) => (other.revision < one.revision ? other : one), first);
  const behind = applied.revision - last.revision;
  if (behind <= 0) return `${count}: ${told.length === 1 ? '' : 'all '}up to what is applied`;
  const said = last.atMs === undefined ? '' : `, said ${span(nowMs - last.atMs)} ago`;
  return `${count}: ${short(last.subscription)} is ${told.length === 1 ? '' : 'furthest '}behind, by ${counted(behind)}${said}`;
}
