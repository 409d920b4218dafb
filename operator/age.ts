interface Aged {
  /** RFC 3339. */
  readonly creationTimestamp?: string
  readonly uid?: string
}

/** Below zero where `a` is the older of two that want the same. Times of creation have full seconds; then the uid decides. */
export const compareAge = (a: Aged, b: Aged): number =>
  Date.parse(a.creationTimestamp ?? '') - Date.parse(b.creationTimestamp ?? '') ||
  ((a.uid ?? '') < (b.uid ?? '') ? -1 : (a.uid ?? '') > (b.uid ?? '') ? 1 : 0)
