// Chances that come again with their seed.

/** Draws. */
export interface Chance {
  /** In [0, 1). */
  random(): number;
  /** 0 to `below` - 1. */
  nat(below: number): number;
  /** One of these; throws of none. */
  of<Value>(values: readonly Value[]): Value;
  /** One of these names, each as often as its number says. */
  weighed<Name extends string>(weights: Readonly<Record<Name, number>>): Name;
}

/** Whatever else draws, one of this seed and name draws the same. */
export function chanceOf(seed: number, name: string): Chance {
  let state = seed >>> 0;
  for (const letter of name) state = (Math.imul(state ^ letter.charCodeAt(0), 0x9e3779b1) + 0x7f4a7c15) >>> 0;
  // mulberry32.
  const random = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
  const nat = (below: number): number => Math.floor(random() * below);
  return {
    random,
    nat,
    of<Value>(values: readonly Value[]): Value {
      const value = values[nat(values.length)];
      if (value === undefined) throw new Error('a choice of nothing');
      return value;
    },
    weighed<Name extends string>(weights: Readonly<Record<Name, number>>): Name {
      const entries = Object.entries<number>(weights) as [Name, number][];
      let left = random() * entries.reduce((sum, [, weight]) => sum + weight, 0);
      for (const [name, weight] of entries) {
        left -= weight;
        if (left < 0) return name;
      }
      return entries[0]?.[0] as Name;
    },
  };
}
