/* SPDX-License-Identifier: MIT */
/* x86-64: which of the ways, and what the fix-ups of the assembly call. */
#include "copy/copy.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <errno.h>

#define SYMBOL extern __attribute__((visibility("hidden")))

/* move.h, steps.S */
SYMBOL size_t bz_copy_avx512(void *dst, const void *src, size_t len);
SYMBOL size_t bz_copy_avx2(void *dst, const void *src, size_t len);
SYMBOL size_t bz_copy_rep(void *dst, const void *src, size_t len);
SYMBOL struct bz_stop bz_forward(void *dst, const void *src, size_t n);
SYMBOL struct bz_stop bz_fill(void *dst, int c, size_t n);
SYMBOL size_t bz_touch(const void *at, size_t n);
SYMBOL size_t bz_touch_write(void *at, size_t n);
SYMBOL int bz_byte(void *dst, const void *src);
SYMBOL int bz_byte_set(void *dst, int c);
SYMBOL int bz_byte_order(const void *a, const void *b, int *ret_order);
SYMBOL int bz_load_8(const uint64_t *from, uint64_t *ret_value);
SYMBOL int bz_store_8(uint64_t *to, uint64_t value);
SYMBOL int bz_cas_8(uint64_t *at, uint64_t *expected, uint64_t desired);
SYMBOL size_t bz_set_x86(void *dst, int c, size_t len);
SYMBOL size_t bz_compare_x86(const void *a, const void *b, size_t len,
			     int *ret_order);

/* Called by these. */
size_t bz_copy_rest(void *dst, const void *src, size_t len, size_t done,
		    uint64_t addr);
size_t bz_copy_again(void *dst, const void *src, size_t len, size_t done,
		     uint64_t addr, bz_backward_fn backward);
size_t bz_overlap(void *dst, const void *src, size_t len,
		  bz_backward_fn backward);
size_t bz_copy_block64(void *dst, const void *src, size_t len, size_t at,
		       uint64_t addr, const void *block);
size_t bz_copy_block128(void *dst, const void *src, size_t len, size_t at,
			uint64_t addr, const void *block);
size_t bz_copy_block256(void *dst, const void *src, size_t len, size_t at,
			uint64_t addr, const void *block);
size_t bz_set_rest(void *dst, int c, size_t len, size_t done, uint64_t addr);
size_t bz_compare_rest(const void *a, const void *b, size_t len, size_t done,
		       uint64_t addr, int *ret_order);

size_t bz_copy_rep_from = SIZE_MAX;

static const struct bz_steps steps = {
	bz_forward, bz_fill, bz_touch, bz_touch_write, bz_byte, bz_byte_set,
	bz_byte_order,
};

size_t bz_copy_rest(void *dst, const void *src, size_t len, size_t done,
		    uint64_t addr)
{
	return bz_rest_copy(&steps, dst, src, len, done, addr);
}

size_t bz_copy_again(void *dst, const void *src, size_t len, size_t done,
		     uint64_t addr, bz_backward_fn backward)
{
	(void)done;
	return bz_rest_again(&steps, dst, src, len, addr, backward);
}

size_t bz_overlap(void *dst, const void *src, size_t len,
		  bz_backward_fn backward)
{
	return bz_rest_overlap(&steps, dst, src, len, backward);
}

/* Some of the block at @at is stored; all of it is at @block, while its source
 * may be gone. Behind it the source is as it was. */
static size_t copy_block(char *dst, const char *src, size_t len, size_t at,
			 uint64_t addr, const void *block, size_t bytes)
{
	size_t left = bz_rest_copy(&steps, dst + at, block, bytes, 0, addr);

	at += bytes;
	if (left)
		return len - at + left;
	return at < len ? bz_rest_on(&steps, dst, src, len, at) : 0;
}

size_t bz_copy_block64(void *dst, const void *src, size_t len, size_t at,
		       uint64_t addr, const void *block)
{
	return copy_block(dst, src, len, at, addr, block, 64);
}

size_t bz_copy_block128(void *dst, const void *src, size_t len, size_t at,
			uint64_t addr, const void *block)
{
	return copy_block(dst, src, len, at, addr, block, 128);
}

size_t bz_copy_block256(void *dst, const void *src, size_t len, size_t at,
			uint64_t addr, const void *block)
{
	return copy_block(dst, src, len, at, addr, block, 256);
}

size_t bz_set_rest(void *dst, int c, size_t len, size_t done, uint64_t addr)
{
	return bz_rest_set(&steps, dst, c, len, done, addr);
}

size_t bz_compare_rest(const void *a, const void *b, size_t len, size_t done,
		       uint64_t addr, int *ret_order)
{
	return bz_rest_compare(&steps, a, b, len, done, addr, ret_order);
}

/* ---------------------------------------------------------- the processor */

#define LEAF_7_AVX2	(1u << 5)	/* ebx; Intel SDM, CPUID */
#define LEAF_7_ERMS	(1u << 9)
#define LEAF_7_AVX512F	(1u << 16)
#define LEAF_7_AVX512VL	(1u << 31)
#define LEAF_7_FSRM	(1u << 4)	/* edx */
#define LEAF_1_OSXSAVE	(1u << 27)	/* ecx */
#define XCR0_AVX	0x06u
#define XCR0_AVX512	0xe6u

/*
 * This runs while the library is being relocated, so it calls nothing and is
 * not instrumented.
 */
#define EARLY static inline __attribute__((always_inline, unused))
#define RESOLVER \
	__attribute__((no_sanitize("address", "thread", "undefined"), used))

struct features {
	uint32_t leaf_7_b, leaf_7_d, xcr0;
};

EARLY struct features features(void)
{
	struct features f = { 0, 0, 0 };
	uint32_t a, b, c, d, most;

	__cpuid(0, most, b, c, d);
	if (most < 7)
		return f;
	__cpuid(1, a, b, c, d);
	if (c & LEAF_1_OSXSAVE)
		__asm__ volatile("xgetbv" : "=a"(f.xcr0), "=d"(d) : "c"(0));
	__cpuid_count(7, 0, a, f.leaf_7_b, c, f.leaf_7_d);
	return f;
}

EARLY int can_avx512(struct features f)
{
	uint32_t needs = LEAF_7_AVX512F | LEAF_7_AVX512VL;

	return (f.leaf_7_b & needs) == needs &&
	       (f.xcr0 & XCR0_AVX512) == XCR0_AVX512;
}

EARLY int can_avx2(struct features f)
{
	return (f.leaf_7_b & LEAF_7_AVX2) && (f.xcr0 & XCR0_AVX) == XCR0_AVX;
}

static int usable_avx512(void)
{
	return can_avx512(features());
}

static int usable_avx2(void)
{
	return can_avx2(features());
}

static int usable(void)
{
	return 1;
}

/* Starting it takes as long as copying so many bytes by vectors. */
EARLY size_t rep_from(struct features f, int by_vectors)
{
	if (!by_vectors)
		return 512;
	if (f.leaf_7_d & LEAF_7_FSRM)
		return 2112;
	return f.leaf_7_b & LEAF_7_ERMS ? 8192 : SIZE_MAX;
}

typedef size_t (*copy_fn)(void *dst, const void *src, size_t len);

/* Called by the dynamic linker, or the libc of a static program. */
RESOLVER static copy_fn choose(void)
{
	struct features f = features();

	bz_copy_rep_from = rep_from(f, can_avx2(f));
	if (can_avx512(f))
		return bz_copy_avx512;
	return can_avx2(f) ? bz_copy_avx2 : bz_copy_rep;
}

size_t bez_copy(void *dst, const void *src, size_t len)
	__attribute__((ifunc("choose")));

size_t bez_set(void *dst, int c, size_t len)
{
	return bz_ask_set(dst, c, len, bz_set_x86);
}

size_t bez_compare(const void *a, const void *b, size_t len, int *ret_order)
{
	return bz_ask_compare(a, b, len, ret_order, bz_compare_x86);
}

/* 0, or why not. */
static int check_word(const void *at)
{
	return (uintptr_t)at & 7 ? -EINVAL : bz_ask_word(at);
}

int bez_load_u64(const uint64_t *from, uint64_t *ret_value)
{
	int r = check_word(from);

	return r ? r : bz_load_8(from, ret_value);
}

int bez_store_u64(uint64_t *to, uint64_t value)
{
	int r = check_word(to);

	return r ? r : bz_store_8(to, value);
}

int bez_cas_u64(uint64_t *at, uint64_t *expected, uint64_t desired)
{
	int r = check_word(at);

	return r ? r : bz_cas_8(at, expected, desired);
}

#define REST bez_set, bez_compare, bez_load_u64, bez_store_u64, bez_cas_u64

static const struct bz_copier avx512 = {
	"avx512", usable_avx512, bz_copy_avx512, REST };
static const struct bz_copier avx2 = {
	"avx2", usable_avx2, bz_copy_avx2, REST };
static const struct bz_copier rep = {
	"rep", usable, bz_copy_rep, REST };

const struct bz_copier *const bz_copiers[] = {
	&avx512, &avx2, &rep, &bz_copier_scope, NULL };

#endif
