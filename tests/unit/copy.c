/* SPDX-License-Identifier: MIT */
/*
 * Copies without a loss, each way against the C library; what happens after a
 * fault, with steps that only pretend; and where the handler may send the
 * interrupted code.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "copy/copy.h"
#include "copy/scope.h"
#include "unit.h"

#define ROOM 40000u

static unsigned char a[ROOM], b[ROOM], want[ROOM];

static void fill(void)
{
	unsigned int i;

	for (i = 0; i < ROOM; i++) {
		a[i] = (unsigned char)(i * 7 + i / 251);
		b[i] = (unsigned char)(i * 3 + i / 241 + 100);
	}
}

static const struct bz_copier *next(const struct bz_copier *last)
{
	size_t i = 0;

	while (last && bz_copiers[i] && bz_copiers[i++] != last)
		continue;
	while (bz_copiers[i] && !bz_copiers[i]->usable())
		i++;
	return bz_copiers[i];
}

static void one_copy(const struct bz_copier *copier, size_t to, size_t from,
		     size_t len)
{
	fill();
	memcpy(want, b, ROOM);
	memcpy(want + to, a + from, len);
	CHECK_EQ(copier->copy(b + to, a + from, len), 0);
	CHECKF(!memcmp(b, want, ROOM), "%s: %zu bytes from %zu to %zu",
	       copier->name, len, from, to);
}

/* Both in one piece. */
static void one_move(const struct bz_copier *copier, size_t to, size_t from,
		     size_t len)
{
	fill();
	memcpy(want, a, ROOM);
	memmove(want + to, want + from, len);
	CHECK_EQ(copier->copy(a + to, a + from, len), 0);
	CHECKF(!memcmp(a, want, ROOM), "%s: %zu bytes from %zu to %zu",
	       copier->name, len, from, to);
}

static void copies(void)
{
	const struct bz_copier *copier = NULL;
	size_t len, off;

	while ((copier = next(copier))) {
		for (len = 0; len < 1300; len += len < 300 ? 1 : 7)
			one_copy(copier, 64 + len % 67, 64 + len * 5 % 71,
				 len);
		for (off = 0; off < 64; off += 5)
			one_copy(copier, 100 + off, 100, 9000 + off);
		one_copy(copier, 0, 0, ROOM);
	}
	CHECK_EQ(bez_copy(b, a, ROOM), 0);
	CHECK_EQ(memcmp(a, b, ROOM), 0);
}

static void moves(void)
{
	const struct bz_copier *copier = NULL;
	size_t len, by;

	while ((copier = next(copier)))
		for (by = 0; by < 600; by += by < 20 ? 1 : 67)
			for (len = 1; len < 6000; len += 1 + len / 3) {
				one_move(copier, 100 + by, 100, len);
				one_move(copier, 100, 100 + by, len);
			}
}

/* As in copies(), without rep movsb, and with it from the first byte on. */
static void both_ways(void)
{
#if defined(__x86_64__)
	size_t was = bz_copy_rep_from;

	CHECK(was >= 512);
	bz_copy_rep_from = SIZE_MAX;
	copies();
	moves();
	bz_copy_rep_from = 0;
	copies();
	moves();
	bz_copy_rep_from = was;
#else
	tap_skip("there is one way on this machine");
#endif
}

static void sets(void)
{
	const struct bz_copier *copier = NULL;
	size_t len;

	while ((copier = next(copier)))
		for (len = 0; len < 5000; len += len < 600 ? 1 : 97) {
			fill();
			memcpy(want, b, ROOM);
			memset(want + 40 + len % 67, 0x9c, len);
			CHECK_EQ(copier->set(b + 40 + len % 67, 0x39c, len), 0);
			CHECKF(!memcmp(b, want, ROOM), "%s: %zu bytes",
			       copier->name, len);
		}
}

static int sign(int n)
{
	return (n > 0) - (n < 0);
}

static void compares(void)
{
	const struct bz_copier *copier = NULL;
	size_t len, at;
	int order;

	while ((copier = next(copier)))
		for (len = 0; len < 300; len++) {
			unsigned char *x = a + 50 + len % 3;
			unsigned char *y = b + 50 + len % 5;

			fill();
			memcpy(y, x, len);
			y[len] = (unsigned char)~x[len];
			order = 9;
			CHECK_EQ(copier->compare(x, y, len, &order), 0);
			CHECK_EQ(order, 0);
			for (at = 0; at < len; at += 1 + at / 9) {
				y[at] ^= 0x80;
				y[at + 1] ^= 1;
				CHECK_EQ(copier->compare(x, y, len, &order),
					 0);
				CHECKF(sign(order) == sign(memcmp(x, y, len)),
				       "%s: byte %zu of %zu: %d",
				       copier->name, at, len, order);
				y[at] ^= 0x80;
				y[at + 1] ^= 1;
			}
		}
}

/* ---------------------------------------------------- steps that pretend */

#define PAGE 4096u

static _Alignas(4096) unsigned char memory[8 * PAGE], model[8 * PAGE];
static unsigned int no_read, no_write;	/* pages, as bits */
static unsigned int hidden;		/* lost, but not to who only looks */
static int says_where;
static size_t coarse;			/* forward() stops at such multiples */

static int has(unsigned int pages, const unsigned char *at)
{
	size_t offset = (size_t)(at - memory);

	return offset < sizeof(memory) && (pages >> offset / PAGE & 1);
}

static const unsigned char *met(const unsigned char *dst,
				const unsigned char *src)
{
	if (has(no_read | hidden, src))
		return src;
	return has(no_read | no_write | hidden, dst) ? dst : NULL;
}

static uint64_t where(const unsigned char *at)
{
	return says_where ? (uint64_t)at : 0;
}

static struct bz_stop forward(void *dst, const void *src, size_t n)
{
	unsigned char *to = dst;
	const unsigned char *from = src, *at;
	size_t i;

	for (i = 0; i < n; i++) {
		at = met(to + i, from + i);
		if (at)
			return (struct bz_stop){ n - i / coarse * coarse,
						 where(at) };
		to[i] = from[i];
	}
	return (struct bz_stop){ 0, 0 };
}

static struct bz_stop backward(void *dst, const void *src, size_t n)
{
	unsigned char *to = dst;
	const unsigned char *from = src, *at;

	for (; n; n--) {
		at = met(to + n - 1, from + n - 1);
		if (at)
			return (struct bz_stop){ n, where(at) };
		to[n - 1] = from[n - 1];
	}
	return (struct bz_stop){ 0, 0 };
}

static size_t looks(const unsigned char *at, size_t n, unsigned int pages)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (has(pages, at + i))
			return i;
	return n;
}

static size_t touch(const void *at, size_t n)
{
	return looks(at, n, no_read);
}

static size_t touch_write(void *at, size_t n)
{
	return looks(at, n, no_read | no_write);
}

static int byte(void *dst, const void *src)
{
	return forward(dst, src, 1).left ? -EFAULT : 0;
}

static const struct bz_steps steps = {
	.forward = forward, .touch = touch, .touch_write = touch_write,
	.byte = byte,
};

static void pretend(unsigned int read, unsigned int write,
		    unsigned int not_seen, int say, size_t how_coarse)
{
	size_t i;

	no_read = read;
	no_write = write;
	hidden = not_seen;
	says_where = say;
	coarse = how_coarse;
	for (i = 0; i < sizeof(memory); i++)
		model[i] = (unsigned char)(i * 5 + i / 255);
	memcpy(memory, model, sizeof(memory));
}

/* Where the kernel does not say what was lost, each byte is tried. */
static void unknown_address(void)
{
	size_t at;

	for (at = PAGE + 1; at < 2 * PAGE; at += 61) {
		size_t good = 2 * PAGE - at;

		pretend(4, 0, 0, 0, 1);
		CHECK_EQ(bz_rest_copy(&steps, memory + 4 * PAGE, memory + at,
				      good + 100, 0, 0), 100);
		CHECK_EQ(memcmp(memory + 4 * PAGE, model + at, good), 0);
		CHECK_EQ(memory[4 * PAGE + good], model[4 * PAGE + good]);
	}
}

/* An earlier page shows on the way; a step may not know all that it did. */
static void earlier_page(void)
{
	pretend(1 << 2 | 1 << 3, 0, 0, 1, 64);
	CHECK_EQ(bz_rest_copy(&steps, memory + 5 * PAGE + 3, memory + PAGE + 9,
			      2 * PAGE + 50, 0,
			      (uint64_t)memory + 3 * PAGE + 8),
		 2 * PAGE + 50 - (PAGE - 9));
	CHECK_EQ(memcmp(memory + 5 * PAGE + 3, model + PAGE + 9, PAGE - 9), 0);
}

/* From the end: the page is met although each was looked at. */
static void met_from_the_end(void)
{
	size_t at = PAGE - 100, len = 3 * PAGE, left;

	/* gone just then, where the source is */
	pretend(0, 0, 1 << 2, 1, 1);
	left = bz_rest_overlap(&steps, memory + at + 10, memory + at, len,
			       backward);
	CHECK_EQ(left, len - (PAGE + 90));
	CHECK_EQ(memcmp(memory + at + 10, model + at, len - left), 0);

	/* to be read, not to be written */
	pretend(0, 1 << 2 | 1 << 3, 0, 1, 1);
	left = bz_rest_overlap(&steps, memory + at + 10, memory + at, len,
			       backward);
	CHECK_EQ(left, len - (PAGE + 90));
	CHECK_EQ(memcmp(memory + at + 10, model + at, len - left), 0);

	/* and nobody says where: nothing is promised */
	pretend(0, 0, 1 << 2, 0, 1);
	CHECK_EQ(bz_rest_overlap(&steps, memory + at + 10, memory + at, len,
				 backward), len);

	/* seen before: nothing is written behind it */
	pretend(1 << 2, 0, 0, 1, 1);
	left = bz_rest_overlap(&steps, memory + at + 10, memory + at, len,
			       backward);
	CHECK_EQ(left, len - (PAGE + 90));
	memmove(model + at + 10, model + at, len - left);
	CHECK_EQ(memcmp(memory, model, sizeof(memory)), 0);
}

/* Onto itself, nothing is written, and what is lost is said. */
static void onto_itself(void)
{
	pretend(1 << 2, 0, 0, 1, 1);
	CHECK_EQ(bz_rest_overlap(&steps, memory + 5, memory + 5, 3 * PAGE,
				 backward), PAGE + 5);
	CHECK_EQ(memcmp(memory, model, sizeof(memory)), 0);
}

/* ---------------------------------------------------------------- fix-ups */

static uint64_t fix(uint64_t pc, uint64_t addr)
{
	ucontext_t uc;

	memset(&uc, 0, sizeof(uc));
#if defined(__x86_64__)
	uc.uc_mcontext.gregs[REG_RIP] = (greg_t)pc;
#else
	uc.uc_mcontext.pc = pc;
#endif
	return bz_copy_fix(&uc, addr);
}

#define ENDS extern __attribute__((visibility("hidden"))) const char
ENDS __start_bz_scope_text[], __stop_bz_scope_text[];
#if defined(__x86_64__)
ENDS __start_bz_copy_text[], __stop_bz_copy_text[];
#endif

/* Nobody is sent back to where he comes from, nor out of the section. */
static void fix_ups(void)
{
	uint64_t pc, to;
	size_t found = 0;

	for (pc = (uint64_t)__start_bz_scope_text;
	     pc < (uint64_t)__stop_bz_scope_text; pc++)
		CHECK_EQ(fix(pc, 0x1000), (uint64_t)bz_scope_back);
	CHECK_EQ(fix((uint64_t)__stop_bz_scope_text, 0x1000), 0);
	CHECK_EQ(fix((uint64_t)__start_bz_scope_text - 1, 0x1000), 0);
	CHECK_EQ(fix((uint64_t)fix_ups, 0x1000), 0);
	CHECK_EQ(fix(0, 0x1000), 0);
	/* what could not be fetched */
	pc = (uint64_t)__start_bz_scope_text;
	CHECK_EQ(fix(pc, pc), 0);
	CHECK_EQ(fix(pc, pc + 3), 0);
	CHECK(fix(pc, pc - 1));
#if defined(__x86_64__)
	for (pc = (uint64_t)__start_bz_copy_text;
	     pc < (uint64_t)__stop_bz_copy_text; pc++) {
		to = fix(pc, 0x1000);
		if (!to)
			continue;
		found++;
		CHECK(to >= (uint64_t)__start_bz_copy_text &&
		      to < (uint64_t)__stop_bz_copy_text);
		/* the fix-up itself touches nothing that can be lost */
		CHECKF(!fix(to, 0x1000), "%#llx goes on at %#llx",
		       (unsigned long long)pc, (unsigned long long)to);
		CHECK_EQ(fix(pc, pc), 0);
	}
	CHECK(found > 1000);
#else
	(void)to;
	(void)found;
#endif
}

static const struct tap_case cases[] = {
	{ .name = "copies", .run = copies },
	{ .name = "moves", .run = moves, .timeout_s = 300 },
	{ .name = "by vectors alone, and without", .run = both_ways,
	  .timeout_s = 300 },
	{ .name = "sets", .run = sets },
	{ .name = "compares", .run = compares },
	{ .name = "an unknown address", .run = unknown_address },
	{ .name = "an earlier page shows on the way", .run = earlier_page },
	{ .name = "met from the end", .run = met_from_the_end },
	{ .name = "onto itself", .run = onto_itself },
	{ .name = "fix-ups", .run = fix_ups },
};
TAP_MAIN(cases)
