/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "inject.h"
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RECOVERY	"/proc/sys/vm/memory_failure_recovery"

#define KPF_HWPOISON	(1ull << 19)
#define PM_PRESENT	(1ull << 63)
#define PM_FRAME	((1ull << 55) - 1)

/* The entry of pagemap, 0 if it cannot be had. */
static uint64_t entry_of(const char *page)
{
	int fd = bzi_sys_open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry = 0, at = (uintptr_t)page / bzi_sys_page_size();

	if (fd < 0)
		return 0;
	if (bzi_sys_pread(fd, &entry, sizeof(entry), at * sizeof(entry)) !=
	    sizeof(entry))
		entry = 0;
	bzi_sys_close(fd);
	return entry;
}

/*
 * For PROT_NONE, and before Linux 5.14. EIO is what poison gives here, and any
 * PROT_NONE where only a debugger may look past it (PROC_MEM_FORCE_PTRACE): but
 * what is present is not lost.
 */
static int probe_by_mem(char *page)
{
	int fd = bzi_sys_open("/proc/self/mem", O_RDONLY);
	char byte;
	ssize_t r;

	if (fd < 0)
		return fd;
	r = bzi_sys_pread(fd, &byte, 1, (uintptr_t)page);
	bzi_sys_close(fd);
	return r == 1 || (entry_of(page) & PM_PRESENT) ? 0 : -EHWPOISON;
}

int bzi_probe(char *page)
{
	int r = bzi_sys_advise(page, bzi_sys_page_size(), MADV_POPULATE_READ);

	return r == -EINVAL ? probe_by_mem(page) : r;
}

uint64_t bzi_count(char *addr, size_t len, size_t page, int answer)
{
	uint64_t n = 0;
	size_t at;

	for (at = 0; at < len; at += page)
		n += bzi_probe(addr + at) == answer;
	return n;
}

bool bzi_memory_failure(void)
{
	return !bzi_sys_access(RECOVERY, F_OK);
}

bool bzi_would_panic(void)
{
	int fd = bzi_sys_open(RECOVERY, O_RDONLY);
	char c = '0';

	if (fd < 0)
		return true;
	bzi_sys_read(fd, &c, 1);
	bzi_sys_close(fd);
	return c == '0';
}

void bzi_frames(char *addr, size_t len, size_t page, uint64_t *ret_frames)
{
	size_t unit = bzi_sys_page_size();
	int fd = bzi_sys_open("/proc/self/pagemap", O_RDONLY);
	size_t i;

	memset(ret_frames, 0, len / page * sizeof(*ret_frames));
	if (fd < 0)
		return;
	for (i = 0; i < len / page; i++) {
		uint64_t at = ((uintptr_t)addr + i * page) / unit;
		uint64_t entry;

		if (bzi_sys_pread(fd, &entry, sizeof(entry),
				  at * sizeof(entry)) == sizeof(entry) &&
		    (entry & PM_PRESENT))
			ret_frames[i] = entry & PM_FRAME;
	}
	bzi_sys_close(fd);
}

bool bzi_frame_is_bad(uint64_t frame)
{
	int fd = bzi_sys_open("/proc/kpageflags", O_RDONLY);
	uint64_t flags = KPF_HWPOISON;

	if (fd < 0)
		return true;
	bzi_sys_pread(fd, &flags, sizeof(flags), frame * sizeof(flags));
	bzi_sys_close(fd);
	return flags & KPF_HWPOISON;
}
