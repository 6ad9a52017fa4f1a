/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "inject_util.h"
#include "tap.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* volatile: set before the byte is read, for a handler that looks */
static __thread sigjmp_buf *volatile way_out;
static __thread siginfo_t last;

static void on_bus(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (!way_out) {
		signal(sig, SIG_DFL);
		return;
	}
	last = *info;
	siglongjmp(*way_out, 1);
}

void iu_catch(void)
{
	struct sigaction action = {
		.sa_sigaction = on_bus,
		.sa_flags = SA_SIGINFO | SA_NODEFER,
	};

	CHECK(!sigaction(SIGBUS, &action, NULL));
}

bool iu_touch(const volatile void *p, unsigned char *ret_byte,
	      struct hit *ret_hit)
{
	sigjmp_buf here;
	bool ok = false;

	if (!sigsetjmp(here, 1)) {
		unsigned char c;

		way_out = &here;
		c = *(const volatile unsigned char *)p;
		if (ret_byte)
			*ret_byte = c;
		ok = true;
	} else if (ret_hit) {
		bool mce = last.si_code == BUS_MCEERR_AR ||
			   last.si_code == BUS_MCEERR_AO;

		ret_hit->code = last.si_code;
		ret_hit->addr = last.si_addr;
		ret_hit->width = mce ? (size_t)1 << last.si_addr_lsb : 1;
	}
	way_out = NULL;
	return ok;
}

/* For private memory; what is not goes without. */
static bool has_populate_write(void)
{
	char here = 0;

	return !madvise((void *)((uintptr_t)&here & -iu_page()), iu_page(),
			MADV_POPULATE_WRITE);
}

void iu_need(uint32_t backend)
{
	if (backend != BEZ_INJECT_UFFD && backend != BEZ_INJECT_TRUNCATE &&
	    !has_populate_write())
		tap_skip("no MADV_POPULATE_WRITE before Linux 5.14");
	if (bez_inject_available(backend))
		tap_skip("%s: %s", bez_inject_backend_name(backend),
			 bez_inject_why(backend));
}

struct bez_inject_info iu_state(bez_inject_t token)
{
	struct bez_inject_info info = { .size = sizeof(info) };

	CHECK_EQ(bez_inject_state(token, &info), 0);
	return info;
}

void iu_frames(const void *p, size_t count, size_t page, uint64_t *ret_frames)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	size_t i;

	for (i = 0; i < count; i++) {
		uint64_t at = ((uintptr_t)p + i * page) / iu_page(), entry = 0;

		if (fd < 0 || pread(fd, &entry, 8, (off_t)at * 8) != 8)
			entry = 0;
		ret_frames[i] = entry & ((1ull << 55) - 1);
	}
	if (fd >= 0)
		close(fd);
}

void iu_give_back(const uint64_t *frames, size_t count)
{
	int fd = open("/sys/kernel/debug/hwpoison/unpoison-pfn",
		      O_WRONLY | O_CLOEXEC);
	size_t i;

	if (fd < 0) {
		tap_diag("%zu physical pages stay lost", count);
		return;
	}
	for (i = 0; i < count; i++) {
		char text[32];
		int n = snprintf(text, sizeof(text), "%#llx\n",
				 (unsigned long long)frames[i]);

		CHECK(frames[i] != 0);
		CHECK_EQ(write(fd, text, (size_t)n), n);
	}
	close(fd);
}

size_t iu_page(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

unsigned char iu_byte(size_t at, unsigned int seed)
{
	return (unsigned char)((at * 31 + at / 253 + seed * 7) % 251 + 1);
}

void iu_fill(unsigned char *p, size_t len, unsigned int seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = iu_byte(i, seed);
}

size_t iu_differs(const unsigned char *p, size_t len, unsigned int seed)
{
	size_t i;

	for (i = 0; i < len && p[i] == iu_byte(i, seed); i++)
		;
	return i;
}

unsigned char *iu_pages(size_t count, unsigned int seed)
{
	size_t len = count * iu_page();
	unsigned char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	iu_fill(p, len, seed);
	return p;
}

unsigned int iu_count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	CHECK(dir != NULL);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

unsigned int iu_count_maps(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned int n = 0;
	int c;

	CHECK(maps != NULL);
	while ((c = getc(maps)) != EOF)
		n += c == '\n';
	fclose(maps);
	return n;
}

static unsigned int find_in(int mem, unsigned long start, unsigned long end,
			    size_t len, unsigned int seed)
{
	static unsigned char page[65536];
	unsigned int n = 0;
	size_t step = iu_page();

	/* the pattern begins at a page, as does every copy of it */
	for (; start < end; start += step)
		if (pread(mem, page, len, (off_t)start) == (ssize_t)len)
			n += iu_differs(page, len, seed) == len;
	memset(page, 0, sizeof(page));
	return n;
}

unsigned int iu_find(size_t len, unsigned int seed)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	unsigned long start, end;
	unsigned int n = 0;
	char line[512];

	CHECK(maps != NULL && mem >= 0);
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx", &start, &end) == 2 &&
		    !strstr(line, "[v"))
			n += find_in(mem, start, end, len, seed);
	fclose(maps);
	close(mem);
	return n;
}

void iu_attributes(const void *p, size_t len, char *ret, size_t size)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	unsigned long at = (unsigned long)p, start, end;
	bool ours = false;
	char line[512], perms[8];
	size_t n = 0;

	CHECK(smaps != NULL);
	ret[0] = '\0';
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx %7s", &start, &end, perms) == 3) {
			ours = start < at + len && end > at;
			if (ours)
				n += (size_t)snprintf(ret + n, size - n, "%s ",
						      perms);
		} else if (ours && !strncmp(line, "VmFlags:", 8)) {
			n += (size_t)snprintf(ret + n, size - n, "%s",
					      line + 8);
		}
		CHECK(n < size);
	}
	fclose(smaps);
}
