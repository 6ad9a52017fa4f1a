/* SPDX-License-Identifier: MIT */
/*
 * Where a thread goes on when it came upon a page that is lost for good. The
 * demo goes on without the page, so that all of it is in the table.
 */
#ifndef DEMO_ESCAPE_H
#define DEMO_ESCAPE_H

#include <setjmp.h>

/* By sigsetjmp(, 1). NULL: nowhere, and the program ends. */
extern _Thread_local sigjmp_buf *escape;

#endif
