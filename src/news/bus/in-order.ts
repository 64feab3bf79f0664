// Up to where everything is done, of things that come one after the other and are done in any order.

/**
 * Counts what has come and what is done. A mark stands between two of them; it is reached when everything before it is done. Each mark is
 * reached once, and in order.
 */
export class InOrder<Mark> {
  readonly #reached: (mark: Mark) => void;
  /** Positions of what is not done, ascending, as a Set keeps its order. */
  readonly #open = new Set<number>();
  readonly #marks: { readonly position: number; readonly mark: Mark }[] = [];
  #next = 0;

  constructor(reached: (mark: Mark) => void) {
    this.#reached = reached;
  }

  /** Marks that are not reached. */
  get marks(): number {
    return this.#marks.length;
  }

  /** Something has come; answers its position. */
  begin(): number {
    this.#open.add(this.#next);
    this.#next += 1;
    return this.#next - 1;
  }

  done(position: number): void {
    this.#open.delete(position);
    this.#settle();
  }

  mark(mark: Mark): void {
    this.#marks.push({ position: this.#next, mark });
    this.#settle();
  }

  #settle(): void {
    const [firstOpen = Number.POSITIVE_INFINITY] = this.#open;
    for (let first = this.#marks[0]; first !== undefined && first.position <= firstOpen; first = this.#marks[0]) {
      this.#marks.shift();
      this.#reached(first.mark);
    }
  }
}
