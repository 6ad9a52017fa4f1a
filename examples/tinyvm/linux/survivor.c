/* SPDX-License-Identifier: MIT */
/*
 * The first and only program of the guest: it is protected by libbezoar as on any
 * machine, names pages of its own to be lost, and reads them.
 */
#define _GNU_SOURCE
#include <bezoar/bezoar.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <termios.h>
#include <unistd.h>

#define PAGE	4096u
#define PAGES	4u

static unsigned char byte_of(uint32_t i)
{
	return (unsigned char)(1 + (i * 31 + i / PAGE * 7) % 251);
}

/* The end of the guest, and of this program. */
static void __attribute__((noreturn)) end(const char *what, int error)
{
	if (what)
		printf("tinyvm: %s: %s\n", what, strerror(error));
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
	reboot(RB_AUTOBOOT);
	_exit(1);
}

/* pagemap: Documentation/admin-guide/mm/pagemap.rst in Linux. */
static uint64_t frame_of(const unsigned char *at)
{
	uint64_t word = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0 || pread(fd, &word, sizeof(word),
			    (off_t)((uintptr_t)at / PAGE * 8)) != sizeof(word) ||
	    !(word >> 63))
		end("pagemap", errno);
	close(fd);
	return word & ((1ull << 55) - 1);
}

static unsigned char *pages(void)
{
	unsigned char *at = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t i;

	if (at == MAP_FAILED)
		end("memory", errno);
	madvise(at, PAGES * PAGE, MADV_NOHUGEPAGE);
	for (i = 0; i < PAGES * PAGE; i++)
		at[i] = byte_of(i);
	return at;
}

/* 1: it has come back. */
static int lose_and_read(const unsigned char *at, uint32_t page)
{
	const volatile unsigned char *p = at;
	uint64_t before = bez_outcome_count(BEZ_OUTCOME_REPLACED);
	uint32_t i, wrong = 0;

	printf("tinyvm: lose 0x%llx\n",
	       (unsigned long long)frame_of(at + page * PAGE) * PAGE);
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
	for (i = page * PAGE; i < (page + 1) * PAGE; i++)
		wrong += p[i] != byte_of(i);
	if (wrong || bez_outcome_count(BEZ_OUTCOME_REPLACED) != before + 1)
		printf("tinyvm: %u bytes are wrong, %llu pages replaced\n", wrong,
		       (unsigned long long)(bez_outcome_count(BEZ_OUTCOME_REPLACED) -
					    before));
	else
		printf("tinyvm: survived\n");
	return !wrong && bez_outcome_count(BEZ_OUTCOME_REPLACED) == before + 1;
}

int main(void)
{
	unsigned char *at, *copy;
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from;
	bez_region_t region;
	uint32_t i, survived = 0;
	int r;

	if (mount("proc", "/proc", "proc", 0, NULL))
		end("proc", errno);
	at = pages();
	copy = pages();
	from = bez_source_mirror(copy);
	policy.name = "pages";
	policy.source = &from;
	r = bez_start(NULL);
	if (!r)
		r = bez_region_add(at, PAGES * PAGE, &policy, &region);
	if (r)
		end("libbezoar", -r);
	for (i = 0; i < PAGES; i++)
		survived += (uint32_t)lose_and_read(at, i);
	/* who ends before this has not ended as it should */
	printf("tinyvm: done %u\n", survived);
	end(NULL, 0);
}
