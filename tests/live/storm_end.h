/* SPDX-License-Identifier: MIT */
/*
 * The action that the storm cannot have for itself: a child of it, some threads of
 * which lose and touch memory that it cannot do without, comes to its end.
 */
#ifndef BEZOAR_TESTS_STORM_END_H
#define BEZOAR_TESTS_STORM_END_H

#include <stdint.h>

/* Before the storm: what a child and its parent share. */
void storm_end_prepare(void);

/* In a child of fork(2), which does not come back. */
void storm_end(uint64_t seed) __attribute__((noreturn));

/* Its parent, with the status of wait(2): the signal's, and each hook was run once,
 * in order, on the one worker. */
void storm_end_check(int status);

#endif
