// Refuses what this version cannot read: leaving out a field that narrows a question would answer another question.

import { SidecarError } from '../core/errors.ts';

/**
 * Passes a decoded request in which every field is known, at every depth.
 * Throws INVALID_ARGUMENT / UNKNOWN_FIELD naming the path and the number of the first that is not. A known number with another wire
 * type counts as unknown. Cost: one visit of each field; allocates nothing.
 */
export function rejectUnknownFields(message: object): void {
  const found = findUnknown(message);
  if (found === undefined) return;
  const where = found.path.length === 0 ? 'the request' : `"${found.path.join('.')}"`;
  throw new SidecarError('INVALID_ARGUMENT', `unknown field ${found.number} in ${where}`, { reason: 'UNKNOWN_FIELD' });
}

interface UnknownField {
  /** Names as in the proto, outermost first. */
  readonly path: string[];
  readonly number: number;
}

function findUnknown(message: object): UnknownField | undefined {
  for (const key in message) {
    const value: unknown = (message as Record<string, unknown>)[key];
    if (typeof value !== 'object' || value === null || value instanceof Date) continue;
    if (key === '_unknownFields') {
      // Its keys are tags: the field's number and three bits of wire type.
      for (const tag in value) return { path: [], number: Number(tag) >>> 3 };
      continue;
    }
    if (ArrayBuffer.isView(value)) continue;
    const found = findUnknown(value);
    if (found === undefined) continue;
    // A oneof is {$case, value}: its case is the name that the proto knows.
    if (key === 'value' && '$case' in message) found.path.unshift(snakeCase(String(message.$case)));
    else if (!('$case' in value)) found.path.unshift(snakeCase(key));
    return found;
  }
  return undefined;
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
