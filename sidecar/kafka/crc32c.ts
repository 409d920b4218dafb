/** CRC-32C (Castagnoli; RFC 3720, appendix B.4), which Kafka's record batches carry. Eight bytes at a time. */

const POLYNOMIAL_REVERSED = 0x82f63b78
const SLICES = 8

/** `TABLES[256 * n + byte]`: the remainder of that byte followed by n zero bytes (slicing-by-8, Kounavis and Berry). */
const TABLES = new Int32Array(256 * SLICES)
for (let byte = 0; byte < 256; byte++) {
  let remainder = byte
  for (let bit = 0; bit < 8; bit++)
    remainder = remainder & 1 ? (remainder >>> 1) ^ POLYNOMIAL_REVERSED : remainder >>> 1
  TABLES[byte] = remainder
}
for (let index = 256; index < TABLES.length; index++) {
  const before = TABLES[index - 256] as number
  TABLES[index] = (before >>> 8) ^ (TABLES[before & 0xff] as number)
}

/** Of the bytes from `start` to before `end`, as an unsigned integer. */
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length): number {
  const table = TABLES
  let crc = -1
  let at = start
  for (; at + SLICES <= end; at += SLICES) {
    crc ^=
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)
    crc =
      (table[1792 + (crc & 0xff)] as number) ^
      (table[1536 + ((crc >>> 8) & 0xff)] as number) ^
      (table[1280 + ((crc >>> 16) & 0xff)] as number) ^
      (table[1024 + (crc >>> 24)] as number) ^
      (table[768 + (bytes[at + 4] as number)] as number) ^
      (table[512 + (bytes[at + 5] as number)] as number) ^
      (table[256 + (bytes[at + 6] as number)] as number) ^
      (table[bytes[at + 7] as number] as number)
  }
  for (; at < end; at++) crc = (table[(crc ^ (bytes[at] as number)) & 0xff] as number) ^ (crc >>> 8)
  return ~crc >>> 0
}
