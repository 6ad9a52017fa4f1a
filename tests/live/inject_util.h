/* SPDX-License-Identifier: MIT */
/*
 * What the tests of bezoar-inject share: touching memory that may be gone,
 * and counting what a process holds.
 */
#ifndef BEZOAR_TESTS_INJECT_UTIL_H
#define BEZOAR_TESTS_INJECT_UTIL_H

#include <bezoar/inject.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hit {
	int code;		/* si_code */
	void *addr;
	size_t width;		/* 1 << si_addr_lsb; 1 for BUS_ADRERR */
};

/* Take SIGBUS for touch() from now on. */
void iu_catch(void);
/* Read a byte. False if it raised SIGBUS; then what it said. Thread safe. */
bool iu_touch(const volatile void *p, unsigned char *ret_byte,
	      struct hit *ret_hit);

/* Skip the case if @backend is not to be had here. */
void iu_need(uint32_t backend);

/* bez_inject_state(), which must succeed. */
struct bez_inject_info iu_state(bez_inject_t token);

/*
 * Physical pages that a case loses without undo, so that it can give them
 * back: their numbers (0 where they are not told) before, and then, when the
 * memory is unmapped, back to the kernel if it lets us.
 */
void iu_frames(const void *p, size_t count, size_t page, uint64_t *ret_frames);
void iu_give_back(const uint64_t *frames, size_t count);

/* Private anonymous memory filled with a pattern that depends on @seed. */
unsigned char *iu_pages(size_t count, unsigned int seed);
size_t iu_page(void);
void iu_fill(unsigned char *p, size_t len, unsigned int seed);
unsigned char iu_byte(size_t at, unsigned int seed);
/* The first offset at which the pattern is not there, or @len. */
size_t iu_differs(const unsigned char *p, size_t len, unsigned int seed);

unsigned int iu_count_fds(void);
unsigned int iu_count_maps(void);
/* How often @len bytes of the pattern from offset 0 are in own memory. */
unsigned int iu_find(size_t len, unsigned int seed);
/* The lines of smaps about [p, p + len): "perms flags;" of each mapping. */
void iu_attributes(const void *p, size_t len, char *ret, size_t size);

#endif
