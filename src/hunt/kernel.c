/* SPDX-License-Identifier: MIT */
/* Which way to look through memory, by the processor. */
#include <errno.h>

#include "copy/copy.h"
#include "core/core.h"
#include "hunt/hunt.h"

const struct bz_hunt_kernel *bz_hunt_use;

/* Does any word of it fit? */
static int has_one(const uint64_t *word, const struct bz_lanes *lanes)
{
	uint64_t i, k;
	int has = 0;

	for (i = 0; i < BZ_BLOCK / sizeof(*word); i++)
		for (k = 0; k < lanes->count; k++)
			has |= (word[i] & lanes->mask) - lanes->lo[k] <
			       lanes->span[k];
	return has;
}

static size_t skip_any(const void *at, size_t bytes,
		       const struct bz_lanes *lanes, void *ret_block,
		       uint32_t *ret_why)
{
	size_t done;

	for (done = 0; done < bytes; done += BZ_BLOCK) {
		if (bz_scope_copy(ret_block, (const char *)at + done,
				  BZ_BLOCK)) {
			*ret_why = BZ_SKIP_FAULT;
			return done;
		}
		if (has_one(ret_block, lanes)) {
			*ret_why = BZ_SKIP_HIT;
			return done;
		}
	}
	*ret_why = BZ_SKIP_ALL;
	return done;
}

static int usable(void)
{
	return 1;
}

static const struct bz_hunt_kernel any = {
	"any", BZ_BLOCK, usable, skip_any };

#if defined(__x86_64__)

#define SYMBOL extern __attribute__((visibility("hidden")))

/* scan_*.S, word.S */
SYMBOL size_t bz_hunt_avx512(const void *at, size_t bytes,
			     const struct bz_lanes *lanes, void *ret_block,
			     uint32_t *ret_why);
SYMBOL size_t bz_hunt_avx2(const void *at, size_t bytes,
			   const struct bz_lanes *lanes, void *ret_block,
			   uint32_t *ret_why);
SYMBOL int bz_hunt_swap_x86(uint64_t *at, uint64_t *expected,
			    uint64_t desired);
SYMBOL long bz_hunt_fetch_x86(int pid, const struct iovec *from,
			      const struct iovec *to);

_Static_assert(offsetof(struct bz_lanes, lo) == 8 &&
	       offsetof(struct bz_lanes, span) == 40 &&
	       offsetof(struct bz_lanes, count) == 72 &&
	       offsetof(struct bz_lanes, slo) == 80 &&
	       offsetof(struct bz_lanes, sspan) == 112, "scan_*.S");

/* These look whether the kernel saves the registers, too. */
static int usable_avx512(void)
{
	__builtin_cpu_init();
	return __builtin_cpu_supports("avx512f") != 0;
}

static int usable_avx2(void)
{
	__builtin_cpu_init();
	return __builtin_cpu_supports("avx2") != 0;
}

static const struct bz_hunt_kernel avx512 = {
	"avx512", 256, usable_avx512, bz_hunt_avx512 };
static const struct bz_hunt_kernel avx2 = {
	"avx2", 128, usable_avx2, bz_hunt_avx2 };

const struct bz_hunt_kernel *const bz_hunt_kernels[] = {
	&avx512, &avx2, &any, NULL };

int bz_hunt_swap(uint64_t *at, uint64_t *expected, uint64_t desired)
{
	return bz_hunt_swap_x86(at, expected, desired);
}

static long fetch(const struct iovec *from, const struct iovec *to)
{
	return bz_hunt_fetch_x86((int)bz_sys0(SYS_getpid), from, to);
}

int bz_hunt_has_door(void)
{
	return !!(bz_core.flags & BEZ_START_SEGV_DOOR);
}

#else

const struct bz_hunt_kernel *const bz_hunt_kernels[] = { &any, NULL };

int bz_hunt_swap(uint64_t *at, uint64_t *expected, uint64_t desired)
{
	return bez_cas_u64(at, expected, desired);
}

static long fetch(const struct iovec *from, const struct iovec *to)
{
	return bz_sys(SYS_process_vm_writev, bz_sys0(SYS_getpid), (long)from,
		      1, (long)to, 1, 0);
}

int bz_hunt_has_door(void)
{
	return 0;
}

#endif

/*
 * To write is to have it read by the kernel where it may fail: what it reads from
 * another process (process_vm_readv(2)) it takes for good, and dies of a page that
 * nobody has known to be lost.
 */
long bz_hunt_fetch(void *dst, const void *src, size_t len)
{
	struct iovec from = { (void *)(uintptr_t)src, len }, to = { dst, len };

	return fetch(&from, &to);
}

const struct bz_hunt_kernel *bz_hunt_kernel(void)
{
	uint32_t i = 0;

	if (bz_hunt_use)
		return bz_hunt_use;
	while (!bz_hunt_kernels[i]->usable())
		i++;
	return bz_hunt_kernels[i];
}
