/* SPDX-License-Identifier: MIT */
/* One instruction by this processor itself, on registers of the test's. */
#ifndef BEZOAR_TESTS_CPU_H
#define BEZOAR_TESTS_CPU_H

#include "vmm/pure/touch.h"

/* How it ended. Page fault: #PF of the instruction, at @address; done: it went through, or
 * some other way than by memory. */
enum cpu_end { CPU_PAGE_FAULT, CPU_DONE, CPU_OTHER };

/* For this process, once. */
void cpu_begin(void);

/* The one at @code, which stands as @at says (its rip: @code). Not all come back: who lets it
 * run anything does that in a child. */
enum cpu_end cpu_run(const struct bzv_standing *at, uint64_t *ret_address);

#endif
