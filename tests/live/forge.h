/* SPDX-License-Identifier: MIT */
/*
 * SIGBUS with any siginfo: a thread may send itself what only the kernel sends
 * otherwise (rt_tgsigqueueinfo(2)). It has been served when these return.
 */
#ifndef BEZOAR_TESTS_FORGE_H
#define BEZOAR_TESTS_FORGE_H

#include <signal.h>

#include "chain_help.h"

#ifndef BUS_MCEERR_AR
#error "the headers are older than memory failure"
#endif

/* Send it to the calling thread. Returns 0 or -1 with errno: usable where
 * CHECK() is not. */
int forge(int code, const void *addr, int lsb);

/* Install an action that counts its calls and keeps the last siginfo. */
void forge_former(void);
extern volatile int forge_calls;
extern siginfo_t forge_seen;

/* The last event; checks that there is one. */
struct bez_event forge_last(void);

/* The first event with that outcome by that thread; waits for it. */
struct bez_event forge_event(int32_t tid, enum bez_outcome outcome);

/* Pages with content by seed 0, whose region has a mirror with seed 1: what
 * was replaced and what was not can be told apart. */
unsigned char *forge_region(size_t pages, bez_region_t *ret_region);

#endif
