/* SPDX-License-Identifier: MIT */
/* The portable way: loops in C that write down how far they are. */
#include "copy/copy.h"
#include "copy/scope.h"
#include "region/lost.h"

#include <errno.h>
#include <stdatomic.h>

/* Calls would leave the section: of atomics out of line, of sanitizers. */
#if defined(__aarch64__) && !defined(__clang__)
#define INLINE_ATOMICS __attribute__((target("no-outline-atomics")))
#else
#define INLINE_ATOMICS
#endif
#define LOOP __attribute__((section("bz_scope_text"), noinline, \
			    no_sanitize("address", "thread", "undefined"))) \
	INLINE_ATOMICS

#define PAGE	4096u
#define BLOCK	64u

/* Volatile: in this order, and by no function of the C library. */
typedef volatile uint64_t __attribute__((may_alias, aligned(1))) word;
typedef volatile uint64_t __attribute__((may_alias)) aligned_word;
typedef volatile unsigned char byte;

struct job {
	void *dst;
	const void *src;
	size_t n;
	int c;
	uint64_t value;
	uint64_t expected;
	volatile size_t done;	/* or, backwards, what is left */
	volatile int order;
	volatile int same;	/* of a compare-and-swap */
};

struct scope {
	void *env[5];			/* __builtin_setjmp */
	struct scope *outer;		/* of what a handler of ours is on top of */
	uint64_t addr;			/* that was lost */
};

static __thread struct scope *volatile now
	__attribute__((tls_model("initial-exec")));

void bz_scope_back(uint64_t addr)
{
	now->addr = addr;
	__builtin_longjmp(now->env, 1);
}

/*
 * 0, or -EFAULT and the address. Not inlined: the frame that called
 * __builtin_setjmp must be one that does nothing else, so that no variable
 * lives in a register across it.
 */
static __attribute__((noinline)) int
run(void (*loop)(struct job *), struct job *job, uint64_t *ret_addr)
{
	struct scope scope;
	uint64_t *volatile ret = ret_addr;

	scope.outer = now;
	if (__builtin_setjmp(scope.env)) {
		*ret = now->addr;
		now = now->outer;
		return -EFAULT;
	}
	now = &scope;
	/* the handler's way back reads it */
	atomic_signal_fence(memory_order_seq_cst);
	loop(job);
	atomic_signal_fence(memory_order_seq_cst);
	now = scope.outer;
	return 0;
}

/* --------------------------------------------------------------- the loops */

/*
 * A block can be stored in part when it is met again, so its source must not
 * be what that has overwritten: the source begins a block above, or nothing
 * overlaps.
 */
static LOOP void forward_loop(struct job *job)
{
	byte *dst = job->dst;
	const byte *src = job->src;
	size_t i = 0, n = job->n;

	if ((uintptr_t)src - (uintptr_t)dst >= BLOCK)
		for (; n - i >= BLOCK; job->done = i) {
			word *to = (word *)(dst + i);
			const word *from = (const word *)(src + i);
			unsigned int k;

			for (k = 0; k < BLOCK / sizeof(*to); k++)
				to[k] = from[k];
			i += BLOCK;
		}
	while (i < n) {
		dst[i] = src[i];
		job->done = ++i;
	}
}

static LOOP void backward_loop(struct job *job)
{
	byte *dst = job->dst;
	const byte *src = job->src;
	size_t left = job->n;

	while (left >= sizeof(word)) {
		left -= sizeof(word);
		*(word *)(dst + left) = *(const word *)(src + left);
		job->done = left;
	}
	while (left) {
		left--;
		dst[left] = src[left];
		job->done = left;
	}
}

static LOOP void fill_loop(struct job *job)
{
	byte *dst = job->dst;
	size_t i = 0, n = job->n;
	uint64_t c = (unsigned char)job->c * 0x0101010101010101u;

	for (; n - i >= sizeof(c); job->done = i) {
		*(word *)(dst + i) = c;
		i += sizeof(c);
	}
	while (i < n) {
		dst[i] = (unsigned char)c;
		job->done = ++i;
	}
}

static LOOP void compare_loop(struct job *job)
{
	const byte *a = job->dst, *b = job->src;
	size_t i = 0, n = job->n;

	for (; n - i >= sizeof(word); job->done = i) {
		if (*(const word *)(a + i) != *(const word *)(b + i))
			break;
		i += sizeof(word);
	}
	for (; i < n; job->done = ++i) {
		job->order = a[i] - b[i];
		if (job->order)
			return;
	}
}

static LOOP void touch_loop(struct job *job)
{
	const byte *at = job->src;
	size_t i = 0;

	while (i < job->n) {
		(void)at[i];
		i = ((uintptr_t)(at + i) & -(uintptr_t)PAGE) + PAGE -
		    (uintptr_t)at;
		job->done = i;
	}
}

static LOOP void touch_write_loop(struct job *job)
{
	unsigned char *at = job->dst;
	size_t i = 0;

	while (i < job->n) {
		unsigned char seen = __atomic_load_n(at + i, __ATOMIC_RELAXED);

		/* if it is another by now, somebody has written to it */
		__atomic_compare_exchange_n(at + i, &seen, seen, 0,
					    __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED);
		i = ((uintptr_t)(at + i) & -(uintptr_t)PAGE) + PAGE -
		    (uintptr_t)at;
		job->done = i;
	}
}

static LOOP void load_loop(struct job *job)
{
	job->value = __atomic_load_n((const uint64_t *)job->src,
				     __ATOMIC_ACQUIRE);
}

static LOOP void store_loop(struct job *job)
{
	__atomic_store_n((uint64_t *)job->dst, job->value, __ATOMIC_RELEASE);
}

static LOOP void cas_loop(struct job *job)
{
	uint64_t expected = job->expected;

	job->same = __atomic_compare_exchange_n((uint64_t *)job->dst,
						&expected, job->value, 0,
						__ATOMIC_SEQ_CST,
						__ATOMIC_SEQ_CST);
	job->expected = expected;
}

/* --------------------------------------------------------------- the steps */

static struct bz_stop forward(void *dst, const void *src, size_t n)
{
	struct job job = { .dst = dst, .src = src, .n = n };
	struct bz_stop stop = { 0, 0 };

	if (run(forward_loop, &job, &stop.addr))
		stop.left = n - job.done;
	return stop;
}

static struct bz_stop backward(void *dst, const void *src, size_t n)
{
	struct job job = { .dst = dst, .src = src, .n = n, .done = n };
	struct bz_stop stop = { 0, 0 };

	/* words would overlap themselves */
	if ((uintptr_t)dst - (uintptr_t)src < sizeof(word)) {
		size_t i;

		for (i = n; i; i--) {
			job = (struct job){ .dst = (char *)dst + i - 1,
					    .src = (const char *)src + i - 1,
					    .n = 1 };
			if (run(forward_loop, &job, &stop.addr)) {
				stop.left = i;
				break;
			}
		}
		return stop;
	}
	if (run(backward_loop, &job, &stop.addr))
		stop.left = job.done;
	return stop;
}

static struct bz_stop fill(void *dst, int c, size_t n)
{
	struct job job = { .dst = dst, .n = n, .c = c };
	struct bz_stop stop = { 0, 0 };

	if (run(fill_loop, &job, &stop.addr))
		stop.left = n - job.done;
	return stop;
}

static size_t touch(const void *at, size_t n)
{
	struct job job = { .src = at, .n = n };
	uint64_t addr;

	return run(touch_loop, &job, &addr) ? job.done : n;
}

static size_t touch_write(void *at, size_t n)
{
	struct job job = { .dst = at, .n = n };
	uint64_t addr;

	return run(touch_write_loop, &job, &addr) ? job.done : n;
}

static int one_byte(void *dst, const void *src)
{
	return forward(dst, src, 1).left ? -EFAULT : 0;
}

static int one_byte_set(void *dst, int c)
{
	return fill(dst, c, 1).left ? -EFAULT : 0;
}

static int one_byte_order(const void *a, const void *b, int *ret_order)
{
	struct job job = { .dst = (void *)(uintptr_t)a, .src = b, .n = 1 };
	uint64_t addr;

	if (run(compare_loop, &job, &addr))
		return -EFAULT;
	*ret_order = job.order;
	return 0;
}

static const struct bz_steps steps = {
	forward, fill, touch, touch_write, one_byte, one_byte_set,
	one_byte_order,
};

/* --------------------------------------------------------------- the calls */

static size_t unasked_copy(void *dst, const void *src, size_t len)
{
	if ((uintptr_t)dst - (uintptr_t)src < len)
		return bz_rest_overlap(&steps, dst, src, len, backward);
	return bz_rest_on(&steps, dst, src, len, 0);
}

size_t bz_scope_copy(void *dst, const void *src, size_t len)
{
	return unasked_copy(dst, src, len);
}

static size_t copy(void *dst, const void *src, size_t len)
{
	return bz_lost_count() ? bz_ask_copy(dst, src, len, unasked_copy) :
				 unasked_copy(dst, src, len);
}

static size_t unasked_set(void *dst, int c, size_t len)
{
	struct bz_stop stop = fill(dst, c, len);

	return stop.left ? bz_rest_set(&steps, dst, c, len, len - stop.left,
				       stop.addr) : 0;
}

static size_t set(void *dst, int c, size_t len)
{
	return bz_ask_set(dst, c, len, unasked_set);
}

static size_t unasked_compare(const void *a, const void *b, size_t len,
			      int *ret_order)
{
	struct job job = { .dst = (void *)(uintptr_t)a, .src = b, .n = len };
	uint64_t addr = 0;

	if (run(compare_loop, &job, &addr))
		return bz_rest_compare(&steps, a, b, len, job.done, addr,
				       ret_order);
	*ret_order = job.order;
	return 0;
}

static size_t compare(const void *a, const void *b, size_t len, int *ret_order)
{
	return bz_ask_compare(a, b, len, ret_order, unasked_compare);
}

/* 0, or why not. */
static int check_word(const void *at)
{
	return (uintptr_t)at & 7 ? -EINVAL : bz_ask_word(at);
}

static int load(const uint64_t *from, uint64_t *ret_value)
{
	struct job job = { .src = from };
	uint64_t addr;
	int r = check_word(from);

	if (r)
		return r;
	if (run(load_loop, &job, &addr))
		return -EFAULT;
	*ret_value = job.value;
	return 0;
}

static int store(uint64_t *to, uint64_t value)
{
	struct job job = { .dst = to, .value = value };
	uint64_t addr;
	int r = check_word(to);

	if (r)
		return r;
	return run(store_loop, &job, &addr);
}

static int cas(uint64_t *at, uint64_t *expected, uint64_t desired)
{
	struct job job = { .dst = at, .expected = *expected,
			   .value = desired };
	uint64_t addr;
	int r = check_word(at);

	if (r)
		return r;
	if (run(cas_loop, &job, &addr))
		return -EFAULT;
	if (job.same)
		return 0;
	*expected = job.expected;
	return -EAGAIN;
}

static int usable(void)
{
	return 1;
}

const struct bz_copier bz_copier_scope = {
	"scope", usable, copy, set, compare, load, store, cas };

#if !defined(__x86_64__)

const struct bz_copier *const bz_copiers[] = { &bz_copier_scope, NULL };

size_t bez_copy(void *dst, const void *src, size_t len)
{
	return copy(dst, src, len);
}

size_t bez_set(void *dst, int c, size_t len)
{
	return set(dst, c, len);
}

size_t bez_compare(const void *a, const void *b, size_t len, int *ret_order)
{
	return compare(a, b, len, ret_order);
}

int bez_load_u64(const uint64_t *from, uint64_t *ret_value)
{
	return load(from, ret_value);
}

int bez_store_u64(uint64_t *to, uint64_t value)
{
	return store(to, value);
}

int bez_cas_u64(uint64_t *at, uint64_t *expected, uint64_t desired)
{
	return cas(at, expected, desired);
}

#endif
