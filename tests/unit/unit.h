/* SPDX-License-Identifier: MIT */
/*
 * What the unit tests share: a house without a handler to walk through, and a
 * look at memory that does not touch it.
 */
#ifndef BEZOAR_TESTS_UNIT_H
#define BEZOAR_TESTS_UNIT_H

#include <stddef.h>
#include <stdint.h>

#include "core/core.h"
#include "core/mm.h"
#include "double.h"
#include "tap.h"
#include "types.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* The base page; also puts it where the library looks for it. */
size_t unit_page(void);

/* A struct bz_mm as after bez_start(), but no handler, thread or descriptor.
 * The library's own functions find it. */
struct bz_mm *unit_mm(void);

/* A walk slot for this thread, one deeper than before. */
struct bz_walk *unit_enter(struct bz_mm *mm);

/* The number of a process that has ended. */
uint32_t unit_dead(void);

/* @seconds (times tap_patience()) from now the case dies of SIGALRM, wherever
 * it hangs. */
void unit_patience(unsigned int seconds);

/* ---- for tests that lose real pages */

/* Skips the case unless live_poison() works here. */
void unit_need_poison(void);

enum unit_state {
	UNIT_GOOD = 0,		/* all bytes of live_fill(, seed 0) */
	UNIT_CLOSED = 1,	/* nobody can read it */
	UNIT_WRONG = 2		/* it reads, and wrongly */
};

/* Of page @index of a live_pages() buffer, by way of the kernel. */
enum unit_state unit_state(const unsigned char *at, size_t index);

/* Open descriptors; mappings. */
uint32_t unit_fds(void);
uint32_t unit_maps(void);

/* A number that is another one when any mapping is. */
uint64_t unit_layout(void);

/* Does the mapping at @addr have this two-letter flag in smaps (VmFlags)?
 * -1: nothing is mapped there. */
int unit_flag(const void *addr, const char *flag);

#endif
