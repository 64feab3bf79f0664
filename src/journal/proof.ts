// The proof that no entry is missing: how many live, and a digest over their revisions, kept at O(1) for each change (S12).

/** Which entries live, in a form that does not grow: their number, and the exclusive or of a 64-bit mix of each revision. */
export interface Proof {
  /** Newest revision ever written. */
  readonly head: number;
  /** As Journal.earliest. */
  readonly earliest: number;
  readonly count: number;
  readonly high: number;
  readonly low: number;
}

/** Of a journal in which nothing has been written. */
export const emptyProof: Proof = { head: 0, earliest: 0, count: 0, high: 0, low: 0 };

/** With one more live entry, at `revision`. */
export function withEntry(proof: Proof, revision: number): Proof {
  return { ...toggled(proof, revision), head: Math.max(proof.head, revision), count: proof.count + 1 };
}

/** Without the live entry at `revision`. */
export function withoutEntry(proof: Proof, revision: number): Proof {
  return { ...toggled(proof, revision), count: proof.count - 1 };
}

/** For the journal. */
export function encodeProof(proof: Proof): string {
  return JSON.stringify(proof);
}

/** From the journal; undefined where it is not one. */
export function decodeProof(text: string): Proof | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null) return undefined;
    const { head, earliest, count, high, low }: Partial<Record<keyof Proof, unknown>> = value;
    if (!isPlace(head) || !isPlace(earliest) || !isPlace(count) || !isPlace(high) || !isPlace(low)) return undefined;
    return { head, earliest, count, high, low };
  } catch (error) {
    // A damaged proof proves nothing.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** What is there, and where it has holes. */
export interface Findings {
  readonly proof: Proof;
  /** What is wrong, for people; undefined where the entries are those that were written. */
  readonly corruption: string | undefined;
}

/** Compares the live revisions, in ascending batches, with what `promised` says of them. Cost: one pass, constant memory. */
export async function audit(promised: Proof, batches: AsyncIterable<readonly number[]>): Promise<Findings> {
  let found = emptyProof;
  let firstHole: number | undefined;
  let lastHole = 0;
  for await (const batch of batches) {
    for (const revision of batch) {
      if (revision > found.head + 1) {
        firstHole ??= found.head + 1;
        lastHole = revision - 1;
      }
      found = withEntry(found, revision);
    }
  }
  if (found.head < promised.head) {
    firstHole ??= found.head + 1;
    lastHole = promised.head;
  }
  const whole = found.count === promised.count && found.high === promised.high && found.low === promised.low;
  // What was promised as written stays written: a revision is never given twice.
  const proof = { ...found, head: Math.max(found.head, promised.head), earliest: promised.earliest };
  if (whole && found.head <= promised.head) return { proof, corruption: undefined };
  const missing = promised.count - found.count;
  const where = `between revisions ${firstHole ?? 1} and ${lastHole || proof.head}`;
  const corruption =
    missing > 0
      ? `${missing} of ${promised.count} entries are missing ${where}`
      : `the ${found.count} entries are not the ${promised.count} that were written, ${where}`;
  return { proof, corruption };
}

function toggled(proof: Proof, revision: number): Proof {
  const low = revision % 0x1_0000_0000;
  const top = Math.floor(revision / 0x1_0000_0000);
  const high = mix(low, mix(top, 0x9e37_79b9));
  return { ...proof, high: (proof.high ^ high) >>> 0, low: (proof.low ^ mix(low, high)) >>> 0 };
}

// The finalizer of MurmurHash3, seeded: each bit in changes about half of the bits out.
function mix(value: number, seed: number): number {
  let mixed = (value ^ seed) >>> 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85eb_ca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

function isPlace(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
