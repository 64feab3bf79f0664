// Somebody who may not do what root may: tests of permissions mean nothing as root.

import { chownSync, readFileSync } from 'node:fs';

const nobody = 65_534;

/** Runs `task` without root's rights where we have them. `ours`: directories that are still ours then. */
export async function withoutRoot<Value>(ours: readonly string[], task: () => Promise<Value>): Promise<Value> {
  if (process.geteuid?.() !== 0) return task();
  for (const directory of ours) chownSync(directory, nobody, -1);
  process.seteuid?.(nobody);
  try {
    return await task();
  } finally {
    process.seteuid?.(0);
  }
}

/** A group that only root could give a file to. */
export function foreignGroup(): string {
  const mine = [process.getgid?.(), ...(process.getgroups?.() ?? [])];
  const lines = readFileSync('/etc/group', 'utf8').split('\n');
  const foreign = lines.map((line) => line.split(':')).find(([name, , id]) => name && !mine.includes(Number(id)));
  if (foreign?.[0] === undefined) throw new Error('this machine has no group that is not ours');
  return foreign[0];
}
