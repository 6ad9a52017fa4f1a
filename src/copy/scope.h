/* SPDX-License-Identifier: MIT */
/*
 * Where a loop that met a lost page comes back to: a record of the thread's,
 * for the time of a call. The handler looks only whether the interrupted code
 * lies in the loops' section; the record is read by bz_scope_back(), which
 * runs in the loop's place when the handler has returned.
 */
#ifndef BEZOAR_COPY_SCOPE_H
#define BEZOAR_COPY_SCOPE_H

#include <stdint.h>

void bz_scope_back(uint64_t addr) __attribute__((noreturn));

#endif
