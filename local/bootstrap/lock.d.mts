/**
 * Runs `work` while no other process of this machine holds the lock of the same name. The lock ends with its holder,
 * however that ends. `onWait` is called once when somebody else holds it.
 */
export function withLock<T>(
  name: string,
  work: () => Promise<T>,
  options?: { readonly onWait?: () => void },
): Promise<T>
