/** Numbers that the same seed gives again. */
export interface Random {
  /** From `least` to `most`, both included. */
  integer(least: number, most: number): number
  /** True in so many of a hundred cases. */
  percent(percent: number): boolean
  pick<T>(from: readonly T[]): T
  shuffled<T>(all: readonly T[]): readonly T[]
}

/** mulberry32 (Tommy Ettinger, public domain): 32 bits of state, which is plenty for choosing what to break. */
export function randomOf(seed: number): Random {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let bits = Math.imul(state ^ (state >>> 15), state | 1)
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61)
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32
  }
  const integer = (least: number, most: number): number => least + Math.floor(next() * (most - least + 1))
  return {
    integer,
    percent: (percent) => next() * 100 < percent,
    pick: (from) => {
      const found = from[integer(0, from.length - 1)]
      if (found === undefined) throw new RangeError('nothing to choose from')
      return found
    },
    shuffled: (all) => {
      const rest = [...all]
      return all.map(() => rest.splice(integer(0, rest.length - 1), 1)[0]!)
    },
  }
}
