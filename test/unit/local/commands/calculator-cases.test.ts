import assert from 'node:assert/strict'
import test from 'node:test'
import { CASES, checkAnswer, type Answer, type Case } from '../../../../local/commands/calculator-cases.ts'

const sum: Case = { method: 'add', num1: 40, num2: 2, expected: { result: 42 } }
const right: Answer = { code: 'OK', text: 'me: 40 add 2 is 42 (127.0.0.1:1)', successFlag: true, result: 42 }

test('the table has 20 calls: four operations, divisions by zero, unknown operators', () => {
  assert.equal(CASES.length, 20)
  const methods = new Set(CASES.map(({ method }) => method))
  for (const method of ['add', 'subtract', 'multiply', 'divide', '+', '-', '*', '/'])
    assert.ok(methods.has(method), method)
  assert.ok(CASES.some(({ expected }) => 'noResult' in expected))
  assert.ok(CASES.filter(({ expected }) => 'code' in expected).length > 1)
})

test('the right answer is right', () => {
  assert.equal(checkAnswer(sum, 'me', right), undefined)
})

test('every other answer is wrong', () => {
  const wrong: readonly [Partial<Answer>, RegExp][] = [
    [{ result: 41 }, /the result is 41, not 42/],
    [{ successFlag: false }, /successFlag is false/],
    [{ text: 'you: 40 add 2 is 42' }, /for somebody else/],
    [{ code: 'UNAVAILABLE', text: 'gone' }, /status UNAVAILABLE \(gone\), not OK/],
  ]
  for (const [change, expected] of wrong) assert.match(checkAnswer(sum, 'me', { ...right, ...change }) ?? '', expected)
})

test('a division by zero must have no result, an unknown operator its status', () => {
  const zero: Case = { method: 'divide', num1: 1, num2: 0, expected: { noResult: true } }
  assert.equal(checkAnswer(zero, 'me', { ...right, successFlag: false, result: 0 }), undefined)
  assert.match(checkAnswer(zero, 'me', right) ?? '', /where there is none/)
  const unknown: Case = { method: 'power', num1: 1, num2: 2, expected: { code: 'INVALID_ARGUMENT' } }
  assert.equal(checkAnswer(unknown, 'me', { code: 'INVALID_ARGUMENT', text: 'not "power" (a:1)' }), undefined)
  assert.match(
    checkAnswer(unknown, 'me', { code: 'INVALID_ARGUMENT', text: 'not "add" (a:1)' }) ?? '',
    /another method/,
  )
  assert.match(checkAnswer(unknown, 'me', right) ?? '', /not INVALID_ARGUMENT/)
})
