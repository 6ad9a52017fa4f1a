/* SPDX-License-Identifier: MIT */
#ifndef BEZOAR_TOOLS_WHEN_H
#define BEZOAR_TOOLS_WHEN_H

#include <stdint.h>

#define WHEN_ROOM 64

/* Nanoseconds of CLOCK_REALTIME as ISO 8601, of UTC, in any locale and time zone:
 * "2026-11-26T18:16:13.123456789Z", or without what is less than a second. */
const char *when_ns(uint64_t ns, char ret[WHEN_ROOM]);
const char *when_s(int64_t ns, char ret[WHEN_ROOM]);

#endif
