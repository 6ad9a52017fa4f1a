/* SPDX-License-Identifier: MIT */
/*
 * Touches of the storm's memory: each byte that is read is right, and only what may
 * be lost is. Counted.
 */
#ifndef BEZOAR_TESTS_STORM_TOUCH_H
#define BEZOAR_TESTS_STORM_TOUCH_H

#include "storm_memory.h"

extern struct touched {
	_Atomic uint64_t caught;	/* jumps to a catch */
	_Atomic uint64_t former;	/* calls of the former action */
	_Atomic uint64_t copies;	/* that were short */
	_Atomic uint64_t read, lost;	/* bytes */
	/* of the storm's own */
	_Atomic uint64_t cleared, refused, told, passed, children;
} touched;

/* The former action. Before bez_start(). */
void touch_install(void);

/* A load, or a store of what is there. 1: *@ret_byte; 0: to the former action. */
int touch_plainly(struct area *a, size_t offset, int store,
		  unsigned char *ret_byte);

/* The same in a scope, and what comes of it is checked. */
void touch_in_scope(struct area *a, size_t offset, int store);

/* A byte of @page in the way that @draw says: copied, written to a @pipe, loaded or
 * stored; those in a scope if @scopes. */
void touch_it(struct area *a, size_t page, int scopes, uint64_t draw,
	      const int *pipe);

/* Set by a child that was made while others lose pages. */
extern int touch_in_child;

#endif
