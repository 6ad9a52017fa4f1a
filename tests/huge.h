/* SPDX-License-Identifier: MIT */
/*
 * Huge pages for a case. The system has one pool of them: what one
 * case takes, another has not, and some look at what happens when it is empty.
 * So it is one case's at a time, and as it was before when that has ended,
 * whichever way it ends.
 */
#ifndef BEZOAR_TESTS_HUGE_H
#define BEZOAR_TESTS_HUGE_H

#include <stddef.h>

#define HUGE_PAGE ((size_t)2 << 20)
#define HUGE_GIB ((size_t)1 << 30)
/* For mmap(2), with MAP_HUGETLB: of pages of so many bytes. */
#define HUGE_OF(bytes) (__builtin_ctzl(bytes) << 26)

/* At least @pages free ones. Skips the case where that cannot be: who is not
 * root has to do with what there is. */
void huge_need(size_t pages);

/* So many are free, and promised to nobody. */
size_t huge_free(void);
size_t huge_free_gib(void);

/* Take every free one; give them back. */
void huge_drain(void);
void huge_refill(void);

/* The same for those of 1 GiB; and their pool in words. */
void huge_need_gib(size_t pages);
void huge_say_gib(char *text, size_t size);

#endif
