/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "poison.h"

#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef UFFDIO_POISON		/* Linux 6.6 */
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};
#define UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct uffdio_poison)
#endif

struct sigbus sigbus;

static __thread sigjmp_buf way_out;
static __thread volatile int touching;

static void on_sigbus(int sig, siginfo_t *si, void *context)
{
	(void)sig;
	(void)context;
	sigbus.code = si->si_code;
	sigbus.addr = si->si_addr;
	sigbus.width_bits = si->si_addr_lsb;
	sigbus.count++;
	if (touching)
		siglongjmp(way_out, 1);
}

void take_sigbus(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus,
				.sa_flags = SA_SIGINFO | SA_NODEFER };

	CHECK_EQ(sigaction(SIGBUS, &sa, NULL), 0);
}

int peek(unsigned char *at, unsigned char *ret_value)
{
	if (sigsetjmp(way_out, 1)) {
		touching = 0;
		return -1;
	}
	touching = 1;
	*ret_value = *(volatile unsigned char *)at;
	touching = 0;
	return 0;
}

int poke(unsigned char *at, unsigned char value)
{
	if (sigsetjmp(way_out, 1)) {
		touching = 0;
		return -1;
	}
	touching = 1;
	*(volatile unsigned char *)at = value;
	touching = 0;
	return 0;
}

int attempt(void (*run)(void *), void *data)
{
	if (sigsetjmp(way_out, 1)) {
		touching = 0;
		return -1;
	}
	touching = 1;
	run(data);
	touching = 0;
	return 0;
}

unsigned char fill_of(size_t page)
{
	return (unsigned char)(page % 255 + 1);	/* never zero */
}

unsigned char *anon(size_t pages, int flags)
{
	unsigned char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
				MAP_ANONYMOUS | flags, -1, 0);
	size_t i;

	CHECKF(p != MAP_FAILED, "mmap: %s", strerror(errno));
	for (i = 0; i < pages; i++)
		memset(p + i * PAGE, fill_of(i), PAGE);
	return p;
}

int page_is(const unsigned char *p, unsigned char value)
{
	size_t i;

	for (i = 0; i < PAGE; i++)
		if (p[i] != value)
			return 0;
	return 1;
}

int is_huge(const unsigned char *p)
{
	char line[256];
	unsigned long start, end, kib = 0, huge = 0;
	int here = 0;
	FILE *f = fopen("/proc/self/smaps", "re");

	CHECK(f != NULL);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (uintptr_t)p && (uintptr_t)p < end;
		else if (here && sscanf(line, "AnonHugePages: %lu", &kib) == 1)
			huge = kib;
	}
	fclose(f);
	return huge == 2048;
}

unsigned char *anon_huge(void)
{
	const size_t huge = HUGE_PAGES * PAGE;
	unsigned char *area, *p;
	size_t i;

	area = mmap(NULL, 2 * huge, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(area != MAP_FAILED);
	p = (unsigned char *)(((uintptr_t)area + huge - 1) & ~(huge - 1));
	CHECK_EQ(madvise(p, huge, MADV_HUGEPAGE), 0);
	for (i = 0; i < HUGE_PAGES; i++)
		memset(p + i * PAGE, fill_of(i), PAGE);
	CHECK(is_huge(p));
	return p;
}

int linux_is(unsigned int major, unsigned int minor)
{
	unsigned int is_major = 0, is_minor = 0;
	struct utsname name;

	CHECK_EQ(uname(&name), 0);
	CHECK_EQ(sscanf(name.release, "%u.%u", &is_major, &is_minor), 2);
	return is_major > major || (is_major == major && is_minor >= minor);
}

void poison(unsigned char *p)
{
	/* who calls it is told at once, as by a machine check */
	const unsigned int before = sigbus.count, told = linux_is(6, 11);

	CHECKF(madvise(p, PAGE, MADV_HWPOISON) == 0, "MADV_HWPOISON: %s",
	       strerror(errno));
	CHECK_EQ(sigbus.count, before + told);
	if (told)
		check_ar(p);
	sigbus.count = before;
	CHECK_EQ(pagemap(p) & (PAGEMAP_PRESENT | PAGEMAP_SWAP), PAGEMAP_SWAP);
}

static int advised;

static void told(int sig)
{
	(void)sig;
}

static int advise(void *at)
{
	signal(SIGBUS, told);
	advised = madvise(at, PAGE, MADV_HWPOISON) ? -errno : 0;
	_exit(0);
}

int poison_untold(void *at)
{
	static char stack[64 << 10] __attribute__((aligned(16)));
	int status;
	pid_t pid;

	pid = clone(advise, stack + sizeof(stack),
		    CLONE_VM | CLONE_VFORK | SIGCHLD, at);
	CHECK(pid > 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	return advised;
}

void check_ar(const unsigned char *at)
{
	CHECK_EQ(sigbus.code, BUS_MCEERR_AR);
	CHECK_EQ((uintptr_t)sigbus.addr, (uintptr_t)at);
	CHECK_EQ(sigbus.width_bits, 12);
}

uint64_t pagemap(const void *p)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, &entry, sizeof(entry),
		       (off_t)((uintptr_t)p / PAGE * sizeof(entry))),
		 sizeof(entry));
	close(fd);
	return entry;
}

int inject_pfn(const char *file, uint64_t pfn)
{
	char path[128];
	int fd, r;

	snprintf(path, sizeof(path), "/sys/kernel/debug/hwpoison/%s", file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		tap_skip("%s: %s", path, strerror(errno));
	r = dprintf(fd, "%#llx", (unsigned long long)pfn) < 0 ? -errno : 0;
	close(fd);
	return r;
}

void unpoison_pfn(uint64_t pfn)
{
	inject_pfn("unpoison-pfn", pfn);
}

int is_bad_pfn(uint64_t pfn)
{
	const uint64_t bad = 1ull << 19;	/* KPF_HWPOISON */
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	uint64_t flags = 0;

	CHECK(fd >= 0);
	/* it ends where there is no more memory of the kernel's own */
	CHECK(pread(fd, &flags, sizeof(flags), (off_t)(pfn * sizeof(flags))) >= 0);
	close(fd);
	return (flags & bad) != 0;
}

long bad_sectors(void)
{
	FILE *f = fopen("/sys/block/pmem0/badblocks", "re");
	long n, all = 0;

	CHECKF(f != NULL, "pmem0: %s", strerror(errno));
	while (fscanf(f, "%*d %ld", &n) == 1)
		all += n;
	fclose(f);
	return all;
}

void wait_bad_sectors(long before)
{
	time_t end = time(NULL) + 20 * (time_t)tap_patience();

	while (bad_sectors() == before && time(NULL) < end)
		sched_yield();
	CHECKF(bad_sectors() > before, "no bad block has come");
}

long corrupted_kib(void)
{
	char line[128];
	long kib = -1;
	FILE *f = fopen("/proc/meminfo", "re");

	CHECK(f != NULL);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "HardwareCorrupted: %ld", &kib) == 1)
			break;
	fclose(f);
	CHECK(kib >= 0);
	return kib;
}

int count_mappings(void)
{
	int c, lines = 0;
	FILE *f = fopen("/proc/self/maps", "re");

	CHECK(f != NULL);
	while ((c = getc(f)) != EOF)
		lines += c == '\n';
	fclose(f);
	return lines;
}

int uffd_open(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	CHECKF(fd >= 0, "userfaultfd: %s", strerror(errno));
	CHECK_EQ(ioctl(fd, UFFDIO_API, &api), 0);
	return fd;
}

void uffd_register(int fd, void *page)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)page, PAGE },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	CHECKF(ioctl(fd, UFFDIO_REGISTER, &reg) == 0, "UFFDIO_REGISTER: %s",
	       strerror(errno));
}

void uffd_unregister(int fd, void *page)
{
	struct uffdio_range range = { (uintptr_t)page, PAGE };

	CHECKF(ioctl(fd, UFFDIO_UNREGISTER, &range) == 0,
	       "UFFDIO_UNREGISTER: %s", strerror(errno));
}

int uffd_copy(int fd, void *page, const void *from)
{
	struct uffdio_copy copy = { .dst = (uintptr_t)page,
				    .src = (uintptr_t)from, .len = PAGE };

	return ioctl(fd, UFFDIO_COPY, &copy) ? -errno : 0;
}

int uffd_poison(int fd, void *page)
{
	struct uffdio_poison args = { .range = { (uintptr_t)page, PAGE } };

	return ioctl(fd, UFFDIO_POISON, &args) ? -errno : 0;
}
