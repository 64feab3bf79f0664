// Question: how much memory does a known token take, what of it is for Keystone's own bytes, and is that what the store believes it takes?
//
// Each side in a process of its own: filled the way a sidecar fills it, garbage collected before and after, bytes on and beside the heap.
// Tokens are the captured body of a project's token, each with a user, an audit id and times of its own; the catalog is a captured one of
// twenty services, one for each user and project.

import { start } from './children.ts';
import { median, type Options, readOptions, report } from './report.ts';

const options: Options = readOptions();
const rounds = options.quick ? 1 : 3;
const tokens = options.quick ? 5_000 : 20_000;
/** A catalog is some twenty times as large as a token. */
const catalogs = tokens / 4;

interface Weight {
  readonly grown: number;
  readonly resident: number;
  readonly factsEstimate: number;
  readonly catalogEstimate: number;
  readonly bodyBytes: number;
}

async function weigh(kind: 'facts' | 'bare' | 'catalogs', count: number): Promise<Weight> {
  const weights: Weight[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const child = await start('memory-holder', { args: [kind, String(count)] });
    const { grown, residentGrown, factsEstimate, catalogEstimate, bodyBytes } = child.ready;
    await child.stop();
    weights.push({
      grown: Number(grown),
      resident: Number(residentGrown),
      factsEstimate: Number(factsEstimate),
      catalogEstimate: Number(catalogEstimate),
      bodyBytes: Number(bodyBytes),
    });
  }
  const of = (what: keyof Weight): number => median(weights.map((weight) => weight[what]));
  return {
    grown: of('grown'),
    resident: of('resident'),
    factsEstimate: of('factsEstimate'),
    catalogEstimate: of('catalogEstimate'),
    bodyBytes: of('bodyBytes'),
  };
}

const whole = await weigh('facts', tokens);
const bare = await weigh('bare', tokens);
const few = await weigh('facts', catalogs);
const cataloged = await weigh('catalogs', catalogs);
const catalog = cataloged.grown - few.grown;

const bytes = (value: number): string => `${Math.round(value)} bytes`;
const believed = '>= 0.7 and <= 1.5';
const row = (name: string, value: number, unit: string, note: string, wanted: string | null = null): void =>
  report(options, { name, value, unit, wanted }, note);
row(
  'memory_token',
  whole.grown,
  'bytes a token',
  `${rounds} × ${tokens} tokens whose body without the catalog has ${bytes(whole.bodyBytes)}; resident memory grew by ${bytes(whole.resident)} a token`,
);
row(
  'memory_token_bare',
  bare.grown,
  'bytes a token',
  `the same without the claims: no face, no include.claims; resident memory ${bytes(bare.resident)}`,
);
row('memory_claims', whole.grown - bare.grown, 'bytes a token', 'the difference: what keeping Keystone’s own bytes costs');
row('memory_claims_ratio', whole.grown / bare.grown, '× without the claims', 'the first against the second');
row(
  'memory_token_estimate_ratio',
  whole.factsEstimate / whole.grown,
  '× measured',
  `the store believes ${bytes(whole.factsEstimate)} a token (without the claims ${bytes(bare.factsEstimate)}: ${(bare.factsEstimate / bare.grown).toFixed(2)} ×)`,
  believed,
);
row(
  'memory_catalog',
  catalog,
  'bytes a user and scope',
  `${rounds} × ${catalogs} tokens, each of a user of its own, with and without the catalog, in bodies of ${bytes(cataloged.bodyBytes)}; resident ${bytes(cataloged.resident - few.resident)}`,
);
row(
  'memory_catalog_estimate_ratio',
  cataloged.catalogEstimate / catalog,
  '× measured',
  `the store believes ${bytes(cataloged.catalogEstimate)} a catalog`,
  believed,
);
