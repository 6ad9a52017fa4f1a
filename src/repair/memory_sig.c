/* SPDX-License-Identifier: MIT */
#include "repair/attrs.h"

#include <string.h>

int bz_memory_read(uint64_t addr, void *scratch, struct bz_memory *ret_memory,
		   uint64_t *ret_start, uint64_t *ret_end)
{
	struct bz_attrs attrs;
	int r = bz_attrs_read(addr, scratch, &attrs);

	if (r)
		return r;
	*ret_memory = attrs.memory;
	*ret_start = attrs.start;
	*ret_end = attrs.end;
	return 0;
}

/* "/proc/self/map_files/7f00-7f01" */
static void map_files(const struct bz_attrs *attrs, char *ret)
{
	static const char folder[] = "/proc/self/map_files/";
	const uint64_t ends[2] = { attrs->start, attrs->end };
	uint32_t i;
	int shift;

	memcpy(ret, folder, sizeof(folder) - 1);
	ret += sizeof(folder) - 1;
	for (i = 0; i < 2; i++) {
		for (shift = 60; shift && !(ends[i] >> shift); shift -= 4)
			continue;
		for (; shift >= 0; shift -= 4)
			*ret++ = "0123456789abcdef"[ends[i] >> shift & 15];
		*ret++ = i ? '\0' : '-';
	}
}

/* By its name, if it has one; who has the privilege can do without (5.9). */
static long stat_file(uint64_t addr, void *scratch,
		      const struct bz_attrs *attrs, struct stat *ret_stat)
{
	long fd = bz_attrs_open(addr, scratch, attrs), r;

	if (fd < 0) {
		map_files(attrs, scratch);
		return bz_sys(SYS_newfstatat, AT_FDCWD, (long)scratch,
			      (long)ret_stat, 0, 0, 0);
	}
	r = bz_sys(SYS_fstat, fd, (long)ret_stat, 0, 0, 0, 0);
	bz_close((int)fd);
	return r;
}

int bz_memory_is_cut(uint64_t addr, void *scratch)
{
	struct bz_attrs attrs;
	struct stat st;

	if (bz_attrs_read(addr, scratch, &attrs) || !attrs.ino ||
	    stat_file(addr, scratch, &attrs, &st))
		return -1;
	return attrs.offset + (addr - attrs.start) >= (uint64_t)st.st_size;
}
