/* SPDX-License-Identifier: MIT */
/*
 * The reference for a source that is asked on another thread: a bare handler
 * that hands the page to a thread by a futex, waits until it has been filled
 * aside, and puts it in place like REF_PAGE.
 */
#ifndef BEZOAR_BENCH_REF_DEFERRED_H
#define BEZOAR_BENCH_REF_DEFERRED_H

#include <stddef.h>

/* Start the thread; *@ret_tid is its id. Returns 0 or a negative errno. */
int ref_deferred_start(char *data, const char *mirror, size_t len,
		       int *ret_tid);

/* Take SIGBUS, and give it back. */
int ref_deferred_begin(void);
void ref_deferred_end(void);

#endif
