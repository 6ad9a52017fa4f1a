/* SPDX-License-Identifier: MIT */
#include "ref_sigsegv.h"

#include <errno.h>

#ifdef BENCH_HAVE_SIGSEGV
#include <sigsegv.h>

static sigsegv_dispatcher places;

static int yes(void *addr, void *arg)
{
	(void)addr;
	(void)arg;
	return 1;
}

const char *ref_sigsegv_absent(void)
{
	return NULL;
}

int ref_sigsegv_register(char *base, size_t step, size_t len,
			 const uint32_t *order, size_t count)
{
	sigsegv_init(&places);
	for (size_t i = 0; i < count; i++) {
		char *at = base + (order ? order[i] : i) * step;

		if (!sigsegv_register(&places, at, len, yes, NULL))
			return -ENOMEM;
	}
	return 0;
}

size_t ref_sigsegv_find(char *const *addrs, size_t count)
{
	size_t found = 0;

	for (size_t i = 0; i < count; i++)
		found += (size_t)sigsegv_dispatch(&places, addrs[i]);
	return found;
}

#else

const char *ref_sigsegv_absent(void)
{
	return "libsigsegv was not there when the bench was built "
	       "(Debian: libsigsegv-dev)";
}

int ref_sigsegv_register(char *base, size_t step, size_t len,
			 const uint32_t *order, size_t count)
{
	(void)base;
	(void)step;
	(void)len;
	(void)order;
	(void)count;
	return -ENOSYS;
}

size_t ref_sigsegv_find(char *const *addrs, size_t count)
{
	(void)addrs;
	(void)count;
	return 0;
}

#endif
