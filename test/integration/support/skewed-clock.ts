/** Loaded before a process' own modules: its clock is wrong by CLOCK_SKEW_MILLISECONDS, as on a machine without NTP. */
const skew = Number(process.env['CLOCK_SKEW_MILLISECONDS'] ?? 0)
const now = Date.now
Date.now = () => now() + skew
