/** The 20 calls of `npm start -- --once`, and what the calculator must answer to each. */
export type Case = {
  readonly method: string
  readonly num1: number
  readonly num2: number
  readonly expected: { readonly result: number } | { readonly noResult: true } | { readonly code: 'INVALID_ARGUMENT' }
}

/** What came back: the status code's name, and the reply's fields or the status' details as `text`. */
export type Answer = {
  readonly code: string
  readonly text: string
  readonly successFlag?: boolean
  readonly result?: number
}

const result = (method: string, num1: number, num2: number, value: number): Case => ({
  method,
  num1,
  num2,
  expected: { result: value },
})
const noResult = (method: string, num1: number, num2: number): Case => ({
  method,
  num1,
  num2,
  expected: { noResult: true },
})
const refused = (method: string, num1: number, num2: number): Case => ({
  method,
  num1,
  num2,
  expected: { code: 'INVALID_ARGUMENT' },
})

export const CASES: readonly Case[] = [
  result('add', 40, 2, 42),
  result('subtract', 40, 2, 38),
  result('multiply', 6, 7, 42),
  result('divide', 84, 2, 42),
  result('+', 0.5, 0.25, 0.75),
  result('-', 1, 100, -99),
  result('*', -3, 0.5, -1.5),
  result('/', 1, 8, 0.125),
  noResult('divide', 1, 0),
  refused('power', 2, 10),
  result('add', -7, 7, 0),
  result('subtract', 0, 0, 0),
  result('multiply', 1e6, 1e6, 1e12),
  result('divide', -9, 3, -3),
  noResult('/', 0, 0),
  refused('', 1, 2),
  result('+', 2147483647, 1, 2147483648),
  result('*', 0, 12345, 0),
  result('divide', 0, 5, 0),
  refused('ADD', 1, 1),
]

/** Each call has a caller's name of its own, so that an answer to another call is noticed. */
export const callName = (index: number): string => `caller-${String(index + 1).padStart(2, '0')}`

/** Undefined when the answer is the right one, else what is wrong with it. */
export function checkAnswer({ method, expected }: Case, name: string, answer: Answer): string | undefined {
  if ('code' in expected) {
    if (answer.code !== expected.code) return `status ${answer.code} (${answer.text}), not ${expected.code}`
    return answer.text.includes(`"${method}"`) ? undefined : `the details name another method: ${answer.text}`
  }
  if (answer.code !== 'OK') return `status ${answer.code} (${answer.text}), not OK`
  if (!answer.text.startsWith(`${name}: `)) return `the message is for somebody else: ${answer.text}`
  if ('noResult' in expected) {
    return answer.successFlag === false && answer.result === 0
      ? undefined
      : 'successFlag or result is set, where there is none'
  }
  if (answer.successFlag !== true) return `successFlag is ${answer.successFlag}`
  return answer.result === expected.result ? undefined : `the result is ${answer.result}, not ${expected.result}`
}
