/* SPDX-License-Identifier: MIT */
/*
 * A page that KSM has merged is lost. KSM keeps it in its tree, compares other pages with
 * it, and merges the next one that was like it into it. Root, CONFIG_MEMORY_FAILURE,
 * CONFIG_KSM; loses one page for good. TAP on standard output.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE		((size_t)4096)
#define KSM		"/sys/kernel/mm/ksm/"
#define KPF_HWPOISON	19

static unsigned long lost;

static void die(const char *what)
{
	printf("# %s: %s\n", what, strerror(errno));
	fflush(stdout);
	_exit(1);
}

static unsigned long number(const char *file, unsigned long index)
{
	unsigned long value = 0;
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, &value, 8, (off_t)(index * 8)) != 8)
		die(file);
	close(fd);
	return value;
}

static unsigned long frame(const char *at)
{
	return number("/proc/self/pagemap", (uintptr_t)at / PAGE) << 9 >> 9;
}

static void tell(const char *file, const char *value)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		die(file);
	close(fd);
}

/* Bytes that no page elsewhere has. */
static char *new_page(void)
{
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	for (size_t i = 0; i < PAGE; i++)
		p[i] = (char)(i * 37 % 251 + 1);
	if (madvise(p, PAGE, MADV_MERGEABLE))
		die("MADV_MERGEABLE");
	return p;
}

/* With @with, or with what was lost; 0: not in that time. */
static int wait_merged(const char *p, const char *with, time_t seconds)
{
	time_t end = time(NULL) + seconds;

	while (frame(p) != (with ? frame(with) : lost))
		if (time(NULL) > end)
			return 0;
	return 1;
}

/* By itself: since Linux 6.11 a SIGBUS comes at once. */
static void lose(char *p)
{
	if (!fork())
		_exit(madvise(p, PAGE, MADV_HWPOISON) ? errno : 0);
	wait(NULL);
}

int main(void)
{
	char *one = new_page(), *two = new_page(), *later;
	unsigned long marked, again;

	printf("TAP version 13\n1..2\n");
	fflush(stdout);
	tell(KSM "sleep_millisecs", "0");
	tell(KSM "pages_to_scan", "1000");
	tell(KSM "run", "1");
	if (!wait_merged(one, two, 60)) {
		printf("ok 1 # SKIP nothing was merged\nok 2 # SKIP\n");
		return 0;
	}
	lost = frame(one);
	lose(one);
	marked = number("/proc/kpageflags", lost) >> KPF_HWPOISON & 1;
	printf("%sok 1 - the merged page is marked as lost\n",
	       marked ? "" : "not ");
	later = new_page();
	again = wait_merged(later, NULL, 10);
	if (again)
		printf("# frame %#lx, flags %#lx\n", lost,
		       number("/proc/kpageflags", lost));
	tell(KSM "run", "2");
	printf("%sok 2 - no other page is merged into it\n", again ? "not " : "");
	return again || !marked;
}
