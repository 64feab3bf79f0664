// Opens the journal on disk, and looks whether it is whole.

import { randomBytes } from 'node:crypto';
import { SidecarError } from '../core/errors.ts';
import type { Clock, Journal } from '../ports.ts';
import { identityIn, type JournalIdentity, newIdentity } from './identity.ts';
import { type Database, damaged, openDatabase } from './level-database.ts';
import { LevelJournal } from './level-journal.ts';
import { audit, decodeProof, emptyProof, encodeProof, type Proof } from './proof.ts';
import { idIn, keys, lastPlaceIn } from './records.ts';

/** What the journal needs. */
export interface LevelJournalOptions {
  /** Made (0700) where it is not there. One process at a time. */
  readonly dir: string;
  readonly clock: Pick<Clock, 'nowMs'>;
  /** Default: node:crypto. */
  readonly random?: (sizeBytes: number) => Uint8Array;
  /** Makes the database, not yet open. Default: LevelDB as it is. */
  readonly database?: (dir: string) => Database;
}

// Keys read at once.
const auditBatch = 4096;

/**
 * Opens the journal in `dir`, or begins one there. Looks whether all live entries are there: where some are not, `corruption` says
 * so at every opening until something has been appended: whoever opened it appends a REFRESH of everything, first.
 * Throws UNAVAILABLE / JOURNAL_LOCKED; FAILED_PRECONDITION / JOURNAL_CORRUPT, JOURNAL_UNREADABLE or JOURNAL_NEWER.
 * Cost: one pass over the keys of the live entries.
 */
export async function openLevelJournal(options: LevelJournalOptions): Promise<Journal> {
  const database = await openDatabase(options.dir, options.database);
  try {
    const { identity, proof } = await begun(database, options);
    const findings = await audit(proof, revisionsOf(database));
    const [newest] = await database.keys({ ...keys.idsOfOurs, reverse: true, limit: 1 }).all();
    const newestId = newest === undefined ? undefined : idIn(newest);
    return new LevelJournal({ database, dir: options.dir, identity, newestId, ...findings });
  } catch (error) {
    await database.close();
    throw error instanceof SidecarError ? error : damaged(options.dir, 'LevelDB cannot read what it holds', error);
  }
}

async function begun(database: Database, options: LevelJournalOptions): Promise<{ identity: JournalIdentity; proof: Proof }> {
  const [identityText, proofText] = await database.getMany([keys.journal, keys.proof]);
  if (identityText !== undefined && proofText !== undefined) {
    const identity = identityIn(identityText, options.dir);
    const proof = decodeProof(proofText);
    if (identity !== undefined && proof !== undefined) return { identity, proof };
  } else if ((await database.keys({ limit: 1 }).all()).length === 0) {
    const identity = newIdentity(options.clock.nowMs(), options.random ?? randomBytes);
    await database.batch(
      [
        { type: 'put', key: keys.journal, value: JSON.stringify(identity) },
        { type: 'put', key: keys.proof, value: encodeProof(emptyProof) },
      ],
      { sync: true },
    );
    return { identity, proof: emptyProof };
  }
  // Without them we would give revisions again that watchers hold already.
  throw damaged(options.dir, 'it does not tell which journal it is and how far it goes');
}

async function* revisionsOf(database: Database): AsyncGenerator<readonly number[]> {
  const iterator = database.keys(keys.entries);
  try {
    for (;;) {
      const batch = await iterator.nextv(auditBatch);
      if (batch.length === 0) return;
      yield batch.map(lastPlaceIn);
    }
  } finally {
    await iterator.close();
  }
}
